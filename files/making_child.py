"""The child's side of making files out of one: a job of `files.extraction_child`. Imports no Django.

The answer is lines of JSON: {"made": {extension, label, facts, size}}, each followed by exactly `size` bytes of the
file, and at the end {"done": {"files": how many}} or {"error": {code, message}}. An answer without such an end means
that the child died.
"""

import json
import sys
from typing import Any

from files.extractors.base import ExtractionFailed, Limits
from files.makers import registry
from files.makers.base import Made, Work, check_length

# A label ends in a file's name; a damaged workbook's sheets may have names longer than a line of the answer may be.
_LABEL_CHARACTERS = 100
_WORDS = {"convert": "converted", "optimize": "optimized", "resize": "resized"}


def make(request: dict[str, Any], content: bytes, limits: Limits) -> None:
    """Do what `request` ({action, extension, options}) asks and answer; every exception becomes a code."""
    action, extension, options = request["action"], request["extension"], request["options"]
    try:
        work = Work(content, extension, options, limits)
        files = _write_all(registry.load(action, extension, options)(work), limits)
    except ExtractionFailed as error:
        _write({"error": {"code": error.code, "message": error.message}})
    except MemoryError:
        needs = f"The file needs more than {limits.memory_bytes // 1024**2} MiB of memory"
        _write({"error": {"code": "too_large", "message": needs}})
    except BaseException as error:  # noqa: BLE001  (the libraries' panics pass `except Exception`)
        message = f"The file cannot be {_WORDS[action]}: {type(error).__name__}: {error}"[:500]
        _write({"error": {"code": "corrupt", "message": message}})
    else:
        _write({"done": {"files": files}})


def _write_all(made_files: Any, limits: Limits) -> int:
    """Write the files one by one, so that no more than one is held; return how many there were."""
    files = length = 0
    for made in made_files:
        files += 1
        length += len(made.content)
        if files > limits.max_made_files:
            raise ExtractionFailed("too_large", f"More than {limits.max_made_files} files would be made")
        check_length(length, limits)
        _write_file(made)
    return files


def _write_file(made: Made) -> None:
    label = made.label[:_LABEL_CHARACTERS]
    facts = {"extension": made.extension, "label": label, "facts": made.facts or {}, "size": len(made.content)}
    _write({"made": facts})
    sys.stdout.buffer.write(made.content)


def _write(line: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    sys.stdout.buffer.flush()
