"""Plain text."""

from files.extractors.base import Extraction, Limits, TextSink
from files.extractors.decoding import decode


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the decoded text; metadata: encoding, line_count."""
    text, encoding = decode(content)
    sink = TextSink(limits.max_characters)
    sink.add(text)
    metadata = {"extraction_method": "text", "encoding": encoding, "line_count": text.count("\n") + 1}
    return Extraction(text=sink.text(), metadata=metadata, truncated=sink.truncated)
