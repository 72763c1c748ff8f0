"""The door to the files of Office before 2007: OLE containers, opened by olefile."""

import io
import struct
from typing import Any

import olefile

from files import filetypes
from files.extractors.base import ExtractionFailed

_ENCRYPTED = "EncryptedPackage"
_SUMMARY = "\x05SummaryInformation"
_FIRST_SECTION, _MOST_PROPERTIES = 44, 64
_CODE_PAGE, _TITLE, _AUTHOR = 1, 2, 4
_NARROW_TEXT, _WIDE_TEXT, _UTF_16 = 30, 31, 1200


class Container:
    """The streams of an OLE file by name. Raises ExtractionFailed: encrypted, type_mismatch, corrupt."""

    def __init__(self, content: bytes, *, kind: str) -> None:
        fingerprint = filetypes.Fingerprint()
        fingerprint.update(content[: filetypes.HEAD_BYTES])
        if not fingerprint.is_ole():
            fingerprint.update(content)
            raise ExtractionFailed("type_mismatch", f"The name says {kind}, the content is {fingerprint.describe()}")
        self._kind = kind
        try:
            self._file: Any = olefile.OleFileIO(io.BytesIO(content))
        except Exception as error:  # olefile raises whatever its reading of damaged bytes runs into
            if filetypes.MARKERS["encrypted"] in content:
                raise ExtractionFailed("encrypted", f"The {kind} needs a password") from error
            raise ExtractionFailed("corrupt", f"The {kind}'s container is damaged: {error}"[:300]) from error
        if self.has(_ENCRYPTED):
            raise ExtractionFailed("encrypted", f"The {kind} needs a password")
        # olefile follows a chain of sectors, which may run in a circle, for as long as the size says: up to 4 GiB.
        for entry in filter(None, self._file.direntries):
            entry.size = min(entry.size, len(content))

    def has(self, name: str) -> bool:
        return bool(self._file.exists(name))

    def read(self, name: str) -> bytes:
        """Return a stream's bytes, as many as can be read."""
        try:
            data: bytes = self._file.openstream(name).read()
        except Exception as error:
            raise ExtractionFailed("corrupt", f"The {self._kind}'s stream {name} is damaged: {error}"[:300]) from error
        return data

    def properties(self) -> dict[str, str]:
        """Return title and author where given; unreadable properties are none."""
        if not self.has(_SUMMARY):
            return {}
        try:
            found = _summary(self.read(_SUMMARY))
        except (ExtractionFailed, struct.error, LookupError):
            return {}
        named = {"title": found.get(_TITLE, ""), "author": found.get(_AUTHOR, "")}
        return {key: value for key, value in named.items() if value}


def _summary(stream: bytes) -> dict[int, str]:
    """Return the texts of a property set by their numbers (MS-OLEPS 2.20 and 2.21)."""
    section = struct.unpack_from("<I", stream, _FIRST_SECTION)[0]
    count = min(struct.unpack_from("<I", stream, section + 4)[0], _MOST_PROPERTIES)
    places = dict(struct.unpack_from("<II", stream, section + 8 + 8 * index) for index in range(count))
    page = struct.unpack_from("<H", stream, section + places[_CODE_PAGE] + 4)[0] if _CODE_PAGE in places else 1252
    texts = {}
    for number in (_TITLE, _AUTHOR):
        if number in places:
            kind, length = struct.unpack_from("<II", stream, section + places[number])
            start = section + places[number] + 8
            if kind == _NARROW_TEXT:
                texts[number] = _decoded(stream[start : start + length], page)
            elif kind == _WIDE_TEXT:
                texts[number] = _decoded(stream[start : start + 2 * length], _UTF_16)
    return texts


def _decoded(data: bytes, page: int) -> str:
    name = {_UTF_16: "utf-16-le", 65001: "utf-8", 10000: "mac-roman"}.get(page, f"cp{page}")
    return data.decode(name, errors="replace").partition("\x00")[0].strip()
