"""Rich Text Format (RTF): text in all its encodings, tables, headers, footers and notes. Nothing embedded is opened.

Order: the body, then headers, footers, footnotes and comments as they come. Source: RTF specification 1.9.1.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from files import filetypes
from files.extractors import font_charsets
from files.extractors.base import Extraction, ExtractionFailed, Limits
from files.extractors.marked_text import ROW_END, MarkedText

_TOKEN = re.compile(
    rb"\\(?P<word>[A-Za-z]{1,32})(?P<number>-?\d{1,9})? ?"
    rb"|\\'(?P<hex>[0-9A-Fa-f]{2})"
    rb"|\\(?P<symbol>[^A-Za-z'])"
    rb"|(?P<brace>[{}])"
    rb"|(?P<text>[^\\{}\r\n]+)"
    rb"|[\r\n\\]"
)
_MOST_GROUPS = 4_000
_GLYPHS = {
    "par": "\r",
    "sect": "\r",
    "page": "\r",
    "column": "\r",
    "cell": "\x07",
    "row": ROW_END,
    "line": "\n",
    "softline": "\n",
    "tab": "\t",
    "emdash": "\u2014",
    "endash": "\u2013",
    "lquote": "\u2018",
    "rquote": "\u2019",
    "ldblquote": "\u201c",
    "rdblquote": "\u201d",
    "bullet": "\u2022",
    "emspace": "\u2003",
    "enspace": "\u2002",
    "nestcell": "\t",
    "nestrow": "\n",
}
_SYMBOLS = {"~": "\u00a0", "_": "-", "\n": "\r", "\r": "\r", "\\": "\\", "{": "{", "}": "}"}
# Groups that hold no words of the document.
_SILENT_WORDS = (
    "fonttbl colortbl stylesheet listtable listoverridetable info pict object objdata fldinst themedata datastore "
    "colorschememapping latentstyles xmlnstbl revtbl rsidtbl generator filetbl bkmkstart bkmkend upr "
    "nonesttables nonshppict mmathPr pgptbl protusertbl userprops wgrffmtfilter ftnsep ftnsepc ftncn aftnsep aftnsepc "
    "aftncn template passwordhash xe tc txe rxe formfield datafield sp sn sv panose falt"
)
# Starred groups that readers of ours know, and those that hold words again inside a silent one.
_KNOWN_WORDS = "shpinst shptxt ud shppict nesttableprops"
_SPEAKING_WORDS = "shptxt ud fldrslt result"
_BESIDE_WORDS = "header headerl headerr headerf footer footerl footerr footerf footnote annotation"
_SILENT, _KNOWN, _SPEAKING, _BESIDE = (
    frozenset(words.split()) for words in (_SILENT_WORDS, _KNOWN_WORDS, _SPEAKING_WORDS, _BESIDE_WORDS)
)
_PROPERTIES = ("title", "author")
_CODE_PAGES = {"mac": "mac-roman", "pc": "cp437", "pca": "cp850"}
_UTF_8 = 65001


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return text and tables; metadata: word_paragraphs and word_tables, title, author.

    Raises ExtractionFailed: type_mismatch, too_large.
    """
    if filetypes.describe(content[: filetypes.HEAD_BYTES]) != "rtf":
        found = filetypes.describe(content[: filetypes.HEAD_BYTES])
        raise ExtractionFailed("type_mismatch", f"The name says RTF, the content is {found}")
    reading = _Reading()
    reading.read(content)
    marked = MarkedText(limits)
    marked.read(reading.text("body"), is_body=True)
    marked.read(reading.text("beside"), is_body=False)
    properties = {name: reading.text(name).strip() for name in _PROPERTIES}
    return marked.extraction({name: text for name, text in properties.items() if text})


@dataclass(frozen=True)
class _Group:
    """What holds inside a pair of braces."""

    name: str = ""
    is_silent: bool = False
    # Where its text goes: the body, beside it, or a property.
    place: str = "body"
    is_hidden: bool = False
    in_table: bool = False
    encoding: str = ""
    # How many characters stand for a Unicode one that old readers do not know.
    fallbacks: int = 1


class _Reading:
    """What has been read so far."""

    def __init__(self) -> None:
        self._groups = [_Group()]
        self._parts: dict[str, list[str]] = {place: [] for place in ("body", "beside", *_PROPERTIES)}
        self._encoding = "cp1252"
        self._fonts: dict[int, str] = {}
        self._font = 0
        self._is_starred = False
        self._bytes = bytearray()
        self._fallbacks_left = 0

    def text(self, place: str) -> str:
        """Return the characters of a place; halves of characters outside the first plane are put together."""
        joined = "".join(self._parts[place])
        return joined.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le", errors="replace")

    def read(self, content: bytes) -> None:
        """Read the tokens one after the other. Raises ExtractionFailed: too_large (groups in groups)."""
        position = 0
        while found := _TOKEN.match(content, position):
            position = found.end()
            if found["text"]:
                self._add_bytes(found["text"])
            elif found["hex"]:
                self._add_bytes(bytes((int(found["hex"], 16),)))
            elif found["brace"]:
                self._brace(opens=found["brace"] == b"{")
            elif found["symbol"]:
                self._symbol(found["symbol"].decode("latin-1"))
            elif found["word"]:
                number = int(found["number"]) if found["number"] else None
                position += self._word(found["word"].decode("ascii"), number)
        self._flush()

    def _brace(self, *, opens: bool) -> None:
        self._flush()
        self._is_starred = False
        self._fallbacks_left = 0
        if not opens:
            del self._groups[max(len(self._groups) - 1, 1) :]
        elif len(self._groups) > _MOST_GROUPS:
            raise ExtractionFailed("too_large", f"More than {_MOST_GROUPS} groups are nested in the RTF")
        else:
            self._groups.append(self._groups[-1])

    def _symbol(self, symbol: str) -> None:
        if symbol == "*":
            self._is_starred = True
        elif symbol in _SYMBOLS:
            self._add(_SYMBOLS[symbol])

    def _word(self, word: str, number: int | None) -> int:
        """Act on a control word; return how many bytes after it are data."""
        starred, self._is_starred = self._is_starred, False
        if word == "bin":
            return max(number or 0, 0)
        if word == "u" and number is not None:
            self._flush()
            self._fallbacks_left = 0
            self._add(chr(number % 0x10000))
            self._fallbacks_left = self._groups[-1].fallbacks
        elif word in _GLYPHS:
            self._add("\x0b" if word == "par" and self._groups[-1].in_table else _GLYPHS[word])
        elif word in _SILENT or word in _SPEAKING or word in _BESIDE or word in _PROPERTIES or starred:
            self._destination(word, starred=starred)
        else:
            self._setting(word, number)
        return 0

    def _destination(self, word: str, *, starred: bool) -> None:
        """Begin a group of a kind: one with words, one without, or one whose words stand elsewhere."""
        changes: dict[str, Any] = {"name": word}
        if word in _PROPERTIES:
            changes |= {"place": word, "is_silent": self._groups[-1].name != "info"}
        elif word in _SPEAKING:
            changes["is_silent"] = False
        elif word in _BESIDE:
            changes["place"] = "beside"
            self._parts["beside"].append("\r")
        elif word in _SILENT or (starred and word not in _KNOWN):
            changes["is_silent"] = True
        self._change(**changes)

    def _setting(self, word: str, number: int | None) -> None:
        on = number != 0
        if word == "ansicpg" and number:
            self._encoding = "utf-8" if number == _UTF_8 else f"cp{number}"
        elif word in _CODE_PAGES:
            self._encoding = _CODE_PAGES[word]
        elif word == "f" and number is not None:
            self._use_font(number)
        elif word == "fcharset" and number in font_charsets.CODE_PAGES:
            self._fonts[self._font] = font_charsets.CODE_PAGES[number]
        elif word == "uc" and number is not None:
            self._change(fallbacks=max(number, 0))
        elif word in {"v", "deleted"}:
            self._change(is_hidden=on)
        elif word == "plain":
            self._change(is_hidden=False)
        elif word == "pard":
            self._change(in_table=False)
        elif word == "intbl":
            self._change(in_table=True)

    def _use_font(self, number: int) -> None:
        self._font = number
        if self._groups[-1].name != "fonttbl":
            self._change(encoding=self._fonts.get(number, ""))

    def _change(self, **changes: Any) -> None:
        group = self._groups[-1]
        # Most settings say what holds already.
        if any(getattr(group, name) != value for name, value in changes.items()):
            self._flush()
            self._groups[-1] = replace(group, **changes)

    def _add_bytes(self, data: bytes) -> None:
        """Keep bytes of the text until their encoding ends: a character may need two tokens."""
        skipped = min(self._fallbacks_left, len(data))
        self._fallbacks_left -= skipped
        if not self._groups[-1].is_silent:
            self._bytes += data[skipped:]

    def _add(self, text: str) -> None:
        """Add characters, unless they stand for a Unicode one that was told already."""
        self._flush()
        if self._fallbacks_left:
            self._fallbacks_left -= 1
            return
        group = self._groups[-1]
        if not group.is_silent and not group.is_hidden:
            self._parts[group.place].append(text)

    def _flush(self) -> None:
        """Decode the bytes that are kept."""
        if not self._bytes:
            return
        group = self._groups[-1]
        data = bytes(self._bytes)
        self._bytes.clear()
        if not group.is_hidden:
            try:
                text = data.decode(group.encoding or self._encoding, errors="replace")
            except LookupError:
                text = data.decode("cp1252", errors="replace")
            self._parts[group.place].append(text)
