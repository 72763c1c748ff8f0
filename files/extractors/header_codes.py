"""The headers and footers of sheets: what Excel writes of them, without its codes."""

import re

# Fonts, colours, sizes, fields of other programs, two ampersands, and single letters for places, styles and fields
# (page, date, file, sheet).
_CODE = re.compile(r'&(?:"[^"]*"|K[0-9A-F]{6}|K\d\d[+-]\d{3}|\d{1,3}|\[[A-Z]+\]|(.))', re.DOTALL | re.IGNORECASE)
_PLACES = frozenset("LCR")


def plain(text: str) -> str:
    """Return the words of a header or footer; its left, middle and right parts are lines."""
    lines = (" ".join(line.split()) for line in _CODE.sub(_meaning, text).splitlines())
    return "\n".join(line for line in lines if line)


def _meaning(code: re.Match[str]) -> str:
    letter = code[1] or ""
    if letter == "&":
        return "&"
    return "\n" if letter.upper() in _PLACES else ""
