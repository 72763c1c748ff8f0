"""Time limits of attempts inside a worker process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from django.db import connection


class StepTimeout(BaseException):
    """The attempt's deadline has come. Not an Exception: a step's own handlers must not swallow it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise StepTimeout inside the block after `seconds`, by SIGALRM where this is the main thread.

    In threads (the io lane) nothing is raised: steps there rely on the egress guard's own deadline.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _raise)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    except StepTimeout:
        # The signal may have struck in the middle of a statement: that connection cannot be used again.
        if not connection.in_atomic_block:
            connection.close()
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise(signum: int, frame: FrameType | None) -> None:
    raise StepTimeout
