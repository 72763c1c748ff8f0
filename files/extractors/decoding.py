"""Bytes to text: a byte order mark, then strict UTF-8, then UTF-16 by its zero bytes, then statistics."""

from files import filetypes
from files.extractors.base import ExtractionFailed

# Enough for the statistics of charset-normalizer; the whole file is then decoded with what it says.
_SAMPLE_BYTES = 256 * 1024
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
    by_zero_bytes = filetypes.utf16_byte_order(head)
    # UTF-16 of plain letters is valid UTF-8 too (with zero bytes), so it goes first.
    return [*marked, *([by_zero_bytes] if by_zero_bytes else []), "utf-8"]


def _decode_by_statistics(content: bytes) -> tuple[str, str]:
    from charset_normalizer import from_bytes  # 20 ms that UTF-8 files need not wait for

    best = from_bytes(content[:_SAMPLE_BYTES]).best()
    if best is None:
        raise ExtractionFailed("corrupt", "The text is in no known encoding")
    # Among code pages that read the sample alike, the Western one is the likeliest.
    encoding = "cp1252" if "cp1252" in best.could_be_from_charset else best.encoding
    return content.decode(encoding, errors="replace"), encoding.replace("_", "-")
