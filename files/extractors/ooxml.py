"""The door to Office Open XML files (DOCX, XLSX): a ZIP of XML parts, opened with every limit of FILES section 3.

Nothing is ever written to a disk, no entity is expanded and nothing is fetched. The declared sizes bind: zipfile
reads no further than a part's directory entry says, so what the directory promises is checked before anything inflates.
"""

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lxml import etree

from files import filetypes
from files.extractors.base import ExtractionFailed, Limits

_RATIO_FREE_BYTES = 1024**2
_MIB = 1024**2
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# What zipfile and zlib raise on damaged archives; NotImplementedError is an unknown method or version.
_DAMAGE = (zipfile.BadZipFile, EOFError, IndexError, NotImplementedError, OSError, RuntimeError, ValueError, zlib.error)
_DOCTYPES = tuple(re.compile(re.escape("<!DOCTYPE".encode(name))) for name in ("ascii", "utf-16-le", "utf-16-be"))
_OVERLAP_BYTES = 32
_MOST_DEPTH = 256
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Relation:
    """A link of one part to another: the last word of its type (`header`, `worksheet`), the part's name, its own."""

    kind: str
    target: str
    identity: str = ""


class Package:
    """The parts of a file by name; names are compared without case, as the format demands."""

    def __init__(self, content: bytes, limits: Limits) -> None:
        self._limits = limits
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(content))
            self._entries = _checked_entries(self._archive.infolist(), limits)
        except _DAMAGE as error:
            raise ExtractionFailed("corrupt", f"The ZIP container is damaged: {error}"[:300]) from error

    def names(self) -> list[str]:
        """Return the names of all parts, as the file writes them."""
        return [_normal(entry.filename) for entry in self._entries.values()]

    def has(self, name: str) -> bool:
        return name.lower() in self._entries

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield an XML part's bytes. Raises ExtractionFailed: corrupt (missing, damaged, with a DOCTYPE)."""
        tail = b""
        with _archive_errors(name), self._archive.open(self._entry(name)) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                _refuse_doctype(tail + chunk)
                tail = chunk[-_OVERLAP_BYTES:]
                yield chunk

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = self._entries.get(name.lower())
        if entry is None:
            raise ExtractionFailed("corrupt", f"The part {name[:200]} is missing")
        return entry

    def read(self, name: str) -> bytes:
        """Return an XML part whole; raises as `chunks`."""
        return b"".join(self.chunks(name))

    def head(self, name: str, length: int) -> tuple[bytes, int]:
        """Return a part's first bytes, whatever they are, and how many there are besides; raises as `chunks`."""
        entry = self._entry(name)
        with _archive_errors(name), self._archive.open(entry) as stream:
            data = stream.read(length)
        return data, max(0, entry.file_size - len(data))

    def events(self, name: str, tags: tuple[str, ...]) -> Iterator[Any]:
        """Parse a part piece by piece and yield the elements of these tags as they end.

        Raises ExtractionFailed: corrupt; too_large when elements are nested deeper than 256.
        """
        # resolve_entities and no_network stand in the way of what a DOCTYPE in a strange encoding might do.
        parser = etree.XMLPullParser(
            ("end",), tag=tags, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
        )
        with _xml_errors(name):
            for chunk in self._shallow_chunks(name):
                parser.feed(chunk)
                for _, element in parser.read_events():
                    yield element
            parser.close()
        for _, element in parser.read_events():
            yield element

    def tree(self, name: str) -> Any:
        """Parse a small part and return its root element; raises as `events`."""
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        with _xml_errors(name):
            return etree.fromstring(b"".join(self._shallow_chunks(name)), parser)

    def _shallow_chunks(self, name: str) -> Iterator[bytes]:
        """Yield an XML part's bytes as far as no element in them is nested too deep; raises as `events`."""
        depth = _Depth(name)
        counter = None if _LIBXML2_COUNTS else etree.XMLParser(target=depth, resolve_entities=False, no_network=True)
        for chunk in self.chunks(name):
            if counter is not None:
                counter.feed(chunk)
            yield chunk

    def relations(self, part: str = "") -> list[Relation]:
        """Return the links of a part inside the file (of the package itself without one), in their order."""
        folder, base = posixpath.split(part)
        name = posixpath.join(folder, "_rels", f"{base}.rels")
        if not self.has(name):
            return []
        found = (item for item in self.tree(name) if item.get("TargetMode") != "External")
        return [_relation(item, folder) for item in found if item.get("Target")]

    def main_part(self, fallback: str) -> str:
        """Return the part that the package calls its document."""
        links = (link.target for link in self.relations() if link.kind == "officeDocument")
        return next((target for target in links if self.has(target)), fallback)

    def properties(self) -> dict[str, str]:
        """Return title and author where given; unreadable properties are none."""
        links = (link.target for link in self.relations() if link.kind == "core-properties")
        name = next(links, "docProps/core.xml")
        try:
            root = self.tree(name) if self.has(name) else None
        except ExtractionFailed:
            return {}
        found = (
            {} if root is None else {etree.QName(item).localname: (item.text or "").strip() for item in elements(root)}
        )
        named = {"title": found.get("title", ""), "author": found.get("creator", "")}
        return {key: value for key, value in named.items() if value}


def open_package(content: bytes, limits: Limits, *, kind: str) -> Package:
    """Open an Office Open XML file; `kind` names it in messages.

    Raises ExtractionFailed: encrypted, type_mismatch, corrupt, too_large.
    """
    fingerprint = filetypes.Fingerprint()
    fingerprint.update(content)
    if fingerprint.is_encrypted_office():
        raise ExtractionFailed("encrypted", f"The {kind} needs a password")
    if not fingerprint.is_zip():
        found = fingerprint.describe()
        raise ExtractionFailed("type_mismatch", f"The name says {kind}, the content is {found}")
    return Package(content, limits)


def elements(parent: Any) -> Iterator[Any]:
    """Yield the child elements, without comments and processing instructions."""
    return (child for child in parent if isinstance(child.tag, str))


class _Depth:
    """Counts how deep elements are nested; lxml calls the methods."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._depth = 0

    def start(self, tag: str, attributes: object) -> None:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise _too_deep(self._part)

    def end(self, tag: str) -> None:
        self._depth -= 1

    def close(self) -> None: ...


def _too_deep(part: str) -> ExtractionFailed:
    return ExtractionFailed("too_large", f"The part {part[:200]} is nested deeper than {_MOST_DEPTH} elements")


def _libxml2_counts() -> bool:
    """Tell whether libxml2 itself refuses what is nested too deep: its limit differs by version and by build."""
    try:
        etree.fromstring(b"<a>" * (_MOST_DEPTH + 1) + b"</a>" * (_MOST_DEPTH + 1))
    except etree.XMLSyntaxError:
        return True
    return False


# Counting here as well takes longer than the parsing.
_LIBXML2_COUNTS = _libxml2_counts()


@contextmanager
def _archive_errors(part: str) -> Iterator[None]:
    """Turn what reading a damaged archive raises into a code."""
    try:
        yield
    except _DAMAGE as error:
        raise ExtractionFailed("corrupt", f"The part {part[:200]} is damaged: {error}"[:300]) from error


class _xml_errors:  # noqa: N801  (used as a statement)
    """Turns libxml2's errors into codes."""

    def __init__(self, part: str) -> None:
        self._part = part[:200]

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, etree.XMLSyntaxError):
            return
        if "depth" in str(error).lower():
            raise _too_deep(self._part) from error
        raise ExtractionFailed("corrupt", f"The part {self._part} is not well-formed XML: {error}"[:300]) from error


def _checked_entries(entries: list[zipfile.ZipInfo], limits: Limits) -> dict[str, zipfile.ZipInfo]:
    """Return the parts by lower-case name; refuse what breaks a limit or cannot be a package."""
    parts = [entry for entry in entries if not entry.is_dir()]
    if len(parts) > limits.max_zip_parts:
        raise ExtractionFailed("too_large", f"{len(parts)} parts in the ZIP; the limit is {limits.max_zip_parts}")
    total = sum(entry.file_size for entry in parts)
    if total > limits.max_zip_bytes:
        sizes = f"{total / _MIB:.1f} MiB inflated; the limit is {limits.max_zip_bytes / _MIB:g} MiB"
        raise ExtractionFailed("too_large", sizes)
    for check in _ENTRY_CHECKS:
        for entry in parts:
            check(entry, limits)
    named = {_normal(entry.filename).lower(): entry for entry in parts}
    if len(named) < len(parts):
        raise ExtractionFailed("corrupt", "Two parts of the ZIP have the same name")
    return named


def _check_name(entry: zipfile.ZipInfo, limits: Limits) -> None:
    if ".." in _normal(entry.filename).split("/"):
        raise ExtractionFailed("corrupt", f"A part's name leaves the ZIP: {entry.filename[:200]}")


def _check_size(entry: zipfile.ZipInfo, limits: Limits) -> None:
    if entry.file_size > limits.max_part_bytes:
        size, most = entry.file_size / _MIB, limits.max_part_bytes / _MIB
        raise ExtractionFailed(
            "too_large", f"{entry.filename[:200]} is {size:.1f} MiB inflated; the limit is {most:g} MiB"
        )
    ratio = entry.file_size / max(entry.compress_size, 1)
    if entry.file_size > _RATIO_FREE_BYTES and ratio > limits.max_zip_ratio:
        name = entry.filename[:200]
        raise ExtractionFailed("too_large", f"{name} inflates {ratio:.0f} times; the limit is {limits.max_zip_ratio}")


def _check_method(entry: zipfile.ZipInfo, limits: Limits) -> None:
    if entry.flag_bits & 1:
        raise ExtractionFailed("encrypted", f"The part {entry.filename[:200]} needs a password")
    if entry.compress_type not in _METHODS:
        method = f"packed by method {entry.compress_type}; only stored and deflate are read"
        raise ExtractionFailed("corrupt", f"{entry.filename[:200]} is {method}")


_ENTRY_CHECKS: tuple[Callable[[zipfile.ZipInfo, Limits], None], ...] = (_check_name, _check_size, _check_method)


def _refuse_doctype(data: bytes) -> None:
    # In text the one byte is rare, and found many times faster than the patterns.
    if b"!" in data and any(pattern.search(data) for pattern in _DOCTYPES):
        raise ExtractionFailed("corrupt", "A part declares a DOCTYPE, which Office files do not have")


def _normal(name: str) -> str:
    return name.replace("\\", "/").lstrip("/")


def _relation(item: Any, folder: str) -> Relation:
    target = unquote(item.get("Target"))
    path = posixpath.normpath(target if target.startswith("/") else posixpath.join(folder, target))
    kind = (item.get("Type") or "").rpartition("/")[2]
    return Relation(kind=kind, target=_normal(path), identity=item.get("Id") or "")
