"""JSON: checked, and given as it is written; where letters are escaped, they are written out."""

import json
from typing import Any

from files.extractors.base import Extraction, ExtractionFailed, Limits, TextSink
from files.extractors.decoding import decode

_ESCAPE = "\\u"


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the text; metadata: encoding, line_count, json_type, json_items (of the outermost array or object)."""
    text, encoding = decode(content)
    value = _parsed(text)
    shown = json.dumps(value, ensure_ascii=False, indent=2) if _ESCAPE in text else text
    sink = TextSink(limits.max_characters)
    sink.add(shown)
    metadata = {
        "extraction_method": "text",
        "encoding": encoding,
        "line_count": text.count("\n") + 1,
        "json_type": _TYPES[type(value)],
    }
    if isinstance(value, (list, dict)):
        metadata["json_items"] = len(value)
    return Extraction(text=sink.text(), metadata=metadata, truncated=sink.truncated)


_TYPES = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "boolean"}
_TYPES |= {type(None): "null"}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ExtractionFailed("too_large", "The JSON is nested too deeply to be read") from error
    except ValueError as error:
        raise ExtractionFailed("corrupt", f"Not readable as JSON: {error}"[:300]) from error
