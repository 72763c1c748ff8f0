"""One mutant through `run_extraction`, and what must hold of whatever comes of it."""

import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from files import sandbox
from files.extractors.base import TABLE_CHARACTERS, TABLE_ROWS, Extraction, ExtractionFailed, Limits
from tests import documents
from tests.fuzz.mutants import Mutant

# Every code that an extraction may end with (FILES section 2), and no other.
CODES = frozenset(
    {
        "unsupported_type",
        "type_mismatch",
        "encrypted",
        "corrupt",
        "too_large",
        "too_many_pages",
        "extract_timeout",
        "extract_crashed",
    }
)
# The product's limits, but less patience: with the processor's time, that is; a machine may be busy.
LIMITS = Limits(cpu_seconds=10, wall_seconds=60.0, ocr_pages=2)
# Beyond the wall limit: the start and the end of a child.
GRACE_SECONDS = 30.0
_LONGEST_MESSAGE = 1_000
_LONGEST_METADATA = 12 * 1024**2
_MOST_WARNINGS = 2_100
_GOOD = documents.docx("Still here")
# What an extractor did not foresee and its child turned into a code.
UNFORESEEN = "The extractor failed: "


@dataclass
class Verdict:
    """What became of a mutant: `outcome` is `extracted` or a code; the extraction itself is kept by nobody."""

    mutant: Mutant
    outcome: str
    message: str
    seconds: float
    violations: list[str] = field(default_factory=list)

    @property
    def unforeseen(self) -> str:
        """The exception that no extractor foresaw, if there was one."""
        return self.message.removeprefix(UNFORESEEN) if self.message.startswith(UNFORESEEN) else ""


def judged(mutant: Mutant, limits: Limits = LIMITS) -> tuple[Verdict, Extraction | None]:
    """Extract one mutant as a worker does, from a descriptor, and look at what comes out."""
    extraction: Extraction | None = None
    with tempfile.TemporaryFile() as file:
        file.write(mutant.content)
        file.flush()
        began_at = time.monotonic()
        try:
            extraction = sandbox.run_extraction(file.fileno(), mutant.extension, limits)
            verdict = Verdict(mutant, "extracted", "; ".join(extraction.warnings)[:300], 0.0)
        except ExtractionFailed as failure:
            verdict = Verdict(mutant, failure.code, failure.message, 0.0, list(_refusal_faults(failure)))
        except Exception as error:  # noqa: BLE001  (what must never come out is what is looked for)
            verdict = Verdict(mutant, "raised", repr(error), 0.0, [f"run_extraction raised {error!r}"])
        verdict.seconds = time.monotonic() - began_at
    if verdict.seconds > limits.wall_seconds + GRACE_SECONDS:
        verdict.violations.append(f"took {verdict.seconds:.1f} s; the limit is {limits.wall_seconds:g}")
    if extraction is not None:
        verdict.violations += _extraction_faults(extraction, limits)
    return verdict, extraction


def good_file_fault() -> str:
    """Return what is wrong with the extraction of a whole file, "" if nothing is."""
    verdict, extraction = judged(Mutant(0, "docx", "whole", _GOOD))
    found = extraction.text if extraction else verdict.message
    return "" if found == "Still here\n" else f"a whole file after the mutants gave {found[:200]!r}"


def _refusal_faults(failure: ExtractionFailed) -> Iterator[str]:
    if failure.code not in CODES:
        yield f"ended with the code {failure.code!r}, which is none"
    if not failure.message or len(failure.message) > _LONGEST_MESSAGE:
        yield f"its message has {len(failure.message)} characters"
    if "exit code" in failure.message:
        yield f"our own program failed and not the file's reader: {failure.message}"
    if not is_storable(failure.message):
        yield "its message cannot be stored"


def _extraction_faults(extraction: Extraction, limits: Limits) -> Iterator[str]:
    if len(extraction.text) > limits.max_characters:
        yield f"{len(extraction.text)} characters of text"
    for name in ("text", "metadata", "tables", "warnings"):
        if not is_storable(getattr(extraction, name)):
            yield f"its {name} cannot be stored"
    if len(json.dumps(extraction.metadata)) > _LONGEST_METADATA:
        yield "its metadata are too long"
    if any(len(str(extraction.metadata.get(name, ""))) > _LONGEST_MESSAGE for name in ("title", "author")):
        yield "its title or author is too long"
    if len(extraction.warnings) > _MOST_WARNINGS or any(len(item) > _LONGEST_MESSAGE for item in extraction.warnings):
        yield "its warnings are too many or too long"
    yield from _table_faults(extraction.tables)


def _table_faults(tables: list[dict[str, Any]]) -> Iterator[str]:
    if any(len(table["rows"]) > TABLE_ROWS for table in tables):
        yield f"a table has more than {TABLE_ROWS} rows"
    # A CSV's header stays whole, however long it is.
    characters = sum(len(cell) for table in tables for row in table["rows"][1:] for cell in row)
    if characters > TABLE_CHARACTERS:
        yield f"its tables have {characters} characters"


def is_storable(value: Any) -> bool:
    """Tell whether PostgreSQL's text and jsonb can hold a value: no U+0000, no lone surrogates, no NaN."""
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        return all(is_storable(key) and is_storable(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(is_storable, value))
    return not isinstance(value, float) or value - value == 0
