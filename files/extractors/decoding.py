"""Bytes to text: a byte order mark, then strict UTF-8, then UTF-16 and UTF-32 by their zero bytes,
ISO-2022 by its escape sequences, then chardet's statistics (99 % of its public test suite)."""

import re

from files import filetypes
from files.extractors import likely_letters
from files.extractors.base import ExtractionFailed

# Enough for the statistics; the whole file is then decoded with what it says.
_SAMPLE_BYTES = 256 * 1024
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
# Bytes outside ASCII: fewer say nothing about rare encodings, and the fewest nothing about the common ones.
_TELLING_BYTES = 40
_GUESSED_BYTES = 6
# The letters and signs of cp1252 that Western texts use, by their bytes; where its rarest stand,
# another code page's letters are likelier.
_RARE = b"\x83\x88\x8e\x98\x9e\xa4\xa6\xa8\xac\xad\xaf\xb4\xb6\xb8\xb9\xb2\xb3\xd0\xd7\xdd\xde\xf0\xf7\xfd\xfe"
# Whole characters of UTF-8 for each broken one; chance makes none of the kind in other encodings.
_BROKEN_RATIO = 20
_WESTERN = frozenset(range(256)) - frozenset(_RARE)
# The commonest first. From which likelihood on an encoding is compared with none of them, and by how much one must be
# likelier: by more where characters of many bytes were found.
_LATIN = ("cp1252", "cp1250", "iso-8859-2", "cp1254", "mac-roman", "cp850")
_CYRILLIC = ("cp1251", "koi8-r", "cp866", "iso-8859-5")
_LIKELY, _CLEARLY, _FAR = 0.95, 0.1, 0.3
_MANY_BYTES = ("shift", "cp932", "big5", "gb", "euc", "cp949", "johab", "hz")
# Of mainframes: nothing in them is ASCII, so that chance finds none of them.
_EBCDIC = ("cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140")
# UTF-32's mark begins with UTF-16's, so it is asked first.
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def decode(content: bytes) -> tuple[str, str]:
    """Return the text and the name of its encoding. Raises ExtractionFailed: type_mismatch, corrupt."""
    head = content[: filetypes.HEAD_BYTES]
    if not filetypes.is_text(head):
        raise ExtractionFailed("type_mismatch", f"The name says text, the content is {filetypes.describe(head)}")
    for encoding in _candidates(content, head):
        try:
            return content.decode(encoding), encoding.removesuffix("-sig")
        except (UnicodeDecodeError, LookupError):
            continue
    return _decode_by_statistics(content)


def _candidates(content: bytes, head: bytes) -> list[str]:
    """Return the encodings that can be known for certain, in the order to try."""
    marked = [encoding for bom, encoding in _BOMS if content.startswith(bom)]
    wide = filetypes.wide_encoding(head) if b"\0" in head else None
    # These are valid UTF-8 too (with zero bytes, with escape sequences), so they go first.
    return [*marked, *([wide] if wide else []), *_escaped(content), "utf-8"]


def _escaped(content: bytes) -> list[str]:
    """Return the 7-bit encodings that switch by escape sequences, when the text has one of theirs."""
    # The single byte is looked for first: a search for two takes longer than all the rest.
    if b"\x1b" not in content or not content.isascii() or b"\x1b$" not in content:
        return []
    return ["iso2022_kr"] if content.startswith(filetypes.ISO_2022_KR) else ["iso2022_jp_2"]


def _decode_by_statistics(content: bytes) -> tuple[str, str]:
    mended = content.decode("utf-8", errors="replace")
    if _is_nearly_utf8(mended):
        return mended, "utf-8"
    sample = content[:_SAMPLE_BYTES]
    encoding = _better_read(_likeliest(sample), sample)
    if encoding is None:
        raise ExtractionFailed("corrupt", "The text is in no known encoding")
    try:
        return content.decode(encoding, errors="replace"), encoding.lower().replace("_", "-")
    except LookupError as error:
        raise ExtractionFailed("corrupt", f"The text seems to be in {encoding}, which cannot be read") from error


def _is_nearly_utf8(mended: str) -> bool:
    """Tell whether but few of the characters outside ASCII were broken, as in a file cut short."""
    sample = mended[:_SAMPLE_BYTES]
    broken = sample.count("\ufffd")
    whole = sum(not char.isascii() for char in sample) - broken
    return whole >= _BROKEN_RATIO * max(broken, 1)


def _likeliest(sample: bytes) -> str | None:
    """Ask chardet; where there is little to go by, expect what is common rather than an old Macintosh or DOS."""
    import chardet  # milliseconds that UTF-8 files need not wait for
    from chardet.enums import EncodingEra

    foreign = sum(map(len, _NOT_ASCII.findall(sample)))
    if foreign >= _TELLING_BYTES:
        return chardet.detect(sample)["encoding"]
    found = chardet.detect(sample, encoding_era=EncodingEra.MODERN_WEB)["encoding"]
    is_guess = foreign <= _GUESSED_BYTES and (found or "").lower().startswith("windows-125")
    return "cp1252" if is_guess and _reads_as_western(sample) else found


def _better_read(found: str | None, sample: bytes) -> str | None:
    """Return another encoding than the found one where letters stand as in no language, and by another one do."""
    best, most = found, _likelihood(sample, found) if found else 0.0
    name = (found or "").lower()
    if most >= _LIKELY or name in _EBCDIC:
        return found
    is_wide = name.startswith(_MANY_BYTES)
    most += _FAR if is_wide else _CLEARLY
    for encoding in _LATIN if is_wide else (*_LATIN, *_CYRILLIC):
        if (likelihood := _likelihood(sample, encoding)) > most:
            best, most = encoding, likelihood
    return best


def _likelihood(sample: bytes, encoding: str) -> float:
    try:
        return likely_letters.likelihood(sample.decode(encoding, errors="replace"))
    except LookupError:
        return 0.0


def _reads_as_western(sample: bytes) -> bool:
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return set(sample) <= _WESTERN
