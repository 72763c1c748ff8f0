"""Answer bodies: decoded as they arrive, never beyond the cap."""

import zlib

from core.egress.errors import EgressError

_GZIP = zlib.MAX_WBITS | 16


class Body:
    """Collects at most `max_bytes` decoded bytes of a body sent with `encoding` (the header's text).

    gzip and deflate are decoded; any other coding is kept as it came. A bomb costs no more memory than the cap,
    because each step of the decoder is told how much it may still write.
    """

    def __init__(self, *, encoding: str, max_bytes: int) -> None:
        self._coding = encoding.strip().lower().removeprefix("x-")
        self._left_bytes = max_bytes
        self._parts: list[bytes] = []
        self._decoder = zlib.decompressobj(_GZIP if self._coding == "gzip" else zlib.MAX_WBITS)
        self._started = False

    def feed(self, chunk: bytes) -> None:
        """Take one received chunk. Raises: EgressError `too_large`, or `reset` for a body that cannot be decoded."""
        if self._coding not in {"gzip", "deflate"}:
            self._keep(chunk)
            return
        try:
            self._decode(chunk)
        except zlib.error as error:
            raise EgressError("reset", "The answer's body cannot be decoded", str(error), sent=True) from error

    def content(self) -> bytes:
        return b"".join(self._parts)

    def _decode(self, chunk: bytes) -> None:
        while chunk:
            if self._decoder.eof:
                if self._coding != "gzip":
                    return
                self._decoder = zlib.decompressobj(_GZIP)
            # One byte more than may be kept is what tells "exactly full" from "too large".
            self._keep(self._step(chunk))
            chunk = self._decoder.unconsumed_tail or self._decoder.unused_data

    def _step(self, chunk: bytes) -> bytes:
        first, self._started = not self._started, True
        try:
            return self._decoder.decompress(chunk, self._left_bytes + 1)
        except zlib.error:
            if self._coding != "deflate" or not first:
                raise
            # Some servers send raw deflate for "deflate": RFC 9110 section 8.4.1.2 knows of them.
            self._decoder = zlib.decompressobj(-zlib.MAX_WBITS)
            return self._decoder.decompress(chunk, self._left_bytes + 1)

    def _keep(self, data: bytes) -> None:
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise EgressError("too_large", "The answer is larger than allowed", sent=True)
        if data:
            self._parts.append(data)
