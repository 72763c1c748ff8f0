"""Mail messages (EML): headers, the text, and the names of what is attached. Nothing attached is opened.

Messages inside a message are read too. Python's lenient reading of headers is used: the strict one can take minutes
over a hostile address line.
"""

import email
import re
from contextlib import suppress
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from typing import Any

from files import filetypes
from files.extractors.base import PROPERTY_CHARACTERS, Extraction, ExtractionFailed, Limits, TextSink, short
from files.extractors.decoding import decode
from files.extractors.markup import HtmlText

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_FIRST_LINE = re.compile(rb"\s*(From [^\n]*\n\s*|>From [^\n]*\n\s*)*[!-9;-~]{1,100}[ \t]*:")
_MOST_PARTS = 1_000


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return headers and text; metadata: email_subject, email_from, email_to, email_date, email_attachments (names).

    Raises ExtractionFailed: type_mismatch, too_large (over 1,000 parts).
    """
    head = content[: filetypes.HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    if not filetypes.is_text(head) or not _FIRST_LINE.match(head):
        raise ExtractionFailed(
            "type_mismatch", f"The name says mail message, the content is {filetypes.describe(head)}"
        )
    try:
        message = email.message_from_bytes(content.removeprefix(b"\xef\xbb\xbf").lstrip())
    except RecursionError as error:
        raise ExtractionFailed("too_large", "The parts of the mail message are nested too deeply") from error
    reading = _Reading(limits)
    reading.add(message)
    metadata = {
        "extraction_method": "text",
        **short({f"email_{name.lower()}": _header(message, name) for name in _HEADERS if message[name]}),
        "email_attachments": reading.attachments,
    }
    return Extraction(text=reading.text.text(), metadata=metadata, truncated=reading.text.truncated)


class _Reading:
    """What has been read so far."""

    def __init__(self, limits: Limits) -> None:
        self.text = TextSink(limits.max_characters)
        self.attachments: list[str] = []
        self._limits = limits
        self._parts = 0

    def add(self, message: Message) -> None:
        """Add a message: its headers, then its parts, of alternatives the plain one."""
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise ExtractionFailed("too_large", f"More than {_MOST_PARTS} parts in the mail message")
        lines = [f"{name}: {_header(message, name)}\n" for name in _HEADERS if message[name]]
        if lines:
            self.text.add("".join(lines) + "\n")
        self._add_part(message)

    def _add_part(self, part: Message) -> None:
        name = _filename(part)
        if name:
            self.attachments.append(name[:PROPERTY_CHARACTERS])
            self.text.add(f"Attachment: {name}\n")
        if part.get_content_type() == "multipart/alternative":
            self._add_alternative(part)
        elif part.is_multipart():
            for child in _children(part):
                self.add(child)
        elif not name and part.get_content_disposition() != "attachment":
            self.text.add(self._words(part))

    def _add_alternative(self, part: Message) -> None:
        """Add the plain text of a choice, or the first of its parts that says anything."""
        children = sorted(_children(part), key=lambda child: child.get_content_type() != "text/plain")
        for child in children:
            before = self.text.length
            self.add(child)
            if self.text.length > before:
                return

    def _words(self, part: Message) -> str:
        """Return the text of a part without parts; none of what is no text."""
        if part.get_content_maintype() != "text":
            return ""
        payload = part.get_payload(decode=True)
        text = _decoded(payload if isinstance(payload, bytes) else b"", part.get_content_charset())
        if part.get_content_subtype() == "html":
            page = HtmlText(self._limits)
            page.read(text)
            text = page.text.text()
        return text.replace("\r\n", "\n").rstrip() + "\n\n" if text.strip() else ""


def _children(part: Message) -> list[Message]:
    payload: Any = part.get_payload()
    return [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []


def _filename(part: Message) -> str:
    try:
        name = part.get_filename()
    except (MessageError, ValueError, LookupError, TypeError):
        return ""
    return _readable(name) if name else ""


def _header(message: Message, name: str) -> str:
    return _readable(message[name])


def _readable(value: object) -> str:
    """Return a header's value with its encoded words written out, in one line."""
    text = str(value)
    # What cannot be decoded is shown as it stands.
    with suppress(MessageError, ValueError, LookupError):
        text = str(make_header(decode_header(text)))
    return " ".join(text.split())


def _decoded(content: bytes, charset: str | None) -> str:
    try:
        return content.decode(charset or "utf-8")
    except (UnicodeDecodeError, LookupError):
        pass  # the declared encoding is wrong; the bytes may tell the right one
    try:
        return decode(content)[0]
    except ExtractionFailed:
        return content.decode("utf-8", errors="replace")
