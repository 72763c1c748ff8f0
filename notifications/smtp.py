"""Django's SMTP backend with a wall-clock deadline, and with word of each recipient.

Django's own waits `timeout` seconds for each line, so a server that drips holds a thread for hours; it forgets which
of several recipients were refused; and it fails a message that was accepted when the farewell goes wrong.
"""

import smtplib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends import smtp

_CUT_AGAIN_SECONDS = 0.25


@dataclass
class Report:
    """What is known of one conversation: who was refused (reply code and text), how far it came."""

    refused: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    content_began: bool = False
    overdue: bool = False
    client: smtplib.SMTP | None = None


class EmailBackend(smtp.EmailBackend):
    """Sends within `timeout` seconds from the first packet to the last; `report` tells of the latest call."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.report = Report()

    @property
    def connection_class(self) -> Callable[..., smtplib.SMTP]:  # type: ignore[override]  # Django only calls it
        return partial(_TlsClient if self.use_ssl else _Client, report=self.report)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        self.report = Report()
        with _cut_off(self.report, seconds=self.timeout or 0):
            try:
                return int(super().send_messages(email_messages) or 0)
            finally:
                # A connection that failed half-way (no TLS, wrong password, a time limit's signal) is still open.
                self.close()
                if self.report.client is not None:
                    self.report.client.close()


class _Client(smtplib.SMTP):
    def __init__(self, *args: Any, report: Report, **options: Any) -> None:
        self._report = report
        report.client = self
        super().__init__(*args, **options)

    def data(self, msg: Any) -> tuple[int, bytes]:
        self._report.content_began = True
        return super().data(msg)

    def sendmail(self, *args: Any, **options: Any) -> dict[str, tuple[int, bytes]]:
        self._report.refused = super().sendmail(*args, **options)
        return self._report.refused

    def quit(self) -> tuple[int, bytes]:
        """Say goodbye without waiting for the answer: what was accepted stays accepted."""
        with suppress(OSError):
            self.putcmd("quit")
        self.close()
        return 221, b""


class _TlsClient(_Client, smtplib.SMTP_SSL):
    pass


@contextmanager
def _cut_off(report: Report, *, seconds: float) -> Iterator[None]:
    """End the conversation from outside when its time is over: every wait of smtplib then fails at once."""
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(report, seconds, done), name="smtp-deadline", daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _watch(report: Report, seconds: float, done: threading.Event) -> None:
    overdue = not done.wait(seconds)
    while overdue:
        report.overdue = True
        sock = getattr(report.client, "sock", None)
        if isinstance(sock, socket.socket):
            # The plain shutdown also of a TLS socket: its own would wait for the peer, or race with the reader.
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        # Again, since during a handshake the client's socket is being replaced.
        overdue = not done.wait(_CUT_AGAIN_SECONDS)
