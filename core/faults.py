"""Named fault points: places where the chaos suite may kill a process. Free when nothing is armed."""

import os
import signal
import time
from pathlib import Path

from django.conf import settings


def _armed() -> dict[str, str]:
    """Parse `FAULT_POINTS`, e.g. "after_claim=/folder/token,before_commit=/folder/token2"."""
    return dict(item.partition("=")[::2] for item in settings.FAULT_POINTS.split(",") if item)


_points = _armed()


def point(name: str) -> None:
    """Die by SIGKILL here if the suite armed this point and its token file still exists.

    The token is a file that is removed by the process which dies, so that each armed fault hits
    exactly once however many processes pass. A token whose text is `tree` kills the whole worker
    tree (the process group), `hang` stops the process without killing it.
    """
    if not _points or name not in _points:
        return
    token = _points[name]
    try:
        claimed = Path(token).rename(f"{token}.{os.getpid()}.hit")
    except FileNotFoundError:
        return
    mode = claimed.read_text(encoding="ascii").strip()
    if mode == "tree":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    elif mode.startswith("hang"):
        time.sleep(float(mode.partition(":")[2] or 5))
    else:
        os.kill(os.getpid(), signal.SIGKILL)
