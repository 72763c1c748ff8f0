"""Ports for servers of the tests that want to know theirs before they listen."""

import socket

HOST = "127.0.0.1"


class Port:
    """A free port of loopback that nobody else is given until it is let go of, however long its server takes to start.

    The server may listen on it all the same, and again after it was killed: what holds the port does not listen, and
    says SO_REUSEADDR once it has the port, as servers do. Raises OSError where a certain `number` is not free.
    """

    def __init__(self, number: int = 0) -> None:
        self._holder = socket.socket()
        try:
            self._holder.bind((HOST, number))
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            self._holder.close()
            raise
        self.number: int = self._holder.getsockname()[1]

    def let_go(self) -> None:
        """Leave the port to whoever wants it."""
        self._holder.close()
