"""Markdown: the text as it is written, which is how its authors mean it to be read."""

import re

from files.extractors import txt
from files.extractors.base import Extraction, Limits

_HEADING = re.compile(r"^ {0,3}#\s+(\S.{0,300}?)\s*#*\s*$", re.MULTILINE)
_SEARCHED_CHARACTERS = 16 * 1024


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the text; metadata: encoding, line_count, title (the first heading)."""
    extraction = txt.extract(content, limits)
    heading = _HEADING.search(extraction.text[:_SEARCHED_CHARACTERS])
    if heading:
        extraction.metadata["title"] = heading[1]
    return extraction
