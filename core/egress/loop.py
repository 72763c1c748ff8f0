"""The process's one event loop thread: started when first needed, and again after a fork."""

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

# getaddrinfo blocks a thread for as long as a name server stays silent; a few such names must not stop the rest.
_RESOLVER_THREADS = 32
_JOIN_SECONDS = 2.0


class _Process:
    """What this process owns; a forked child begins with a new one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None


# The last is this process's. Those of parent processes are kept, so that nothing of theirs is closed here: their
# sockets are shared with the parent.
_generations = [_Process()]


def get() -> asyncio.AbstractEventLoop:
    """Return the running loop of this process."""
    process = _generations[-1]
    with process.lock:
        if process.loop is None:
            loop = asyncio.new_event_loop()
            loop.set_default_executor(ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="egress-dns"))
            process.thread = threading.Thread(target=_run, args=(loop,), name="egress-loop", daemon=True)
            process.thread.start()
            process.loop = loop
        return process.loop


def submit(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine on the loop's thread."""
    if threading.current_thread() is _generations[-1].thread:
        coroutine.close()
        raise RuntimeError("the loop's own thread cannot wait for itself: await the asynchronous twin instead")
    return asyncio.run_coroutine_threadsafe(coroutine, get())


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the loop's thread and wait for its result: how a batch of requests goes out at once.

    If waiting is interrupted (a signal handler raised), the coroutine is cancelled.
    """
    future = submit(coroutine)
    try:
        return future.result()
    finally:
        future.cancel()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _start_afresh() -> None:
    """Leave the parent's loop behind: its thread does not exist in a forked child, and its lock may be held."""
    _generations.append(_Process())


def _stop() -> None:
    process = _generations[-1]
    if process.loop is not None and process.thread is not None:
        process.loop.call_soon_threadsafe(process.loop.stop)
        process.thread.join(_JOIN_SECONDS)


os.register_at_fork(after_in_child=_start_afresh)
atexit.register(_stop)
