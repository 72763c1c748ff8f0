"""New files out of one: converted, optimized, resized. The work is done in the child, what comes of it is stored."""

import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from django.conf import settings

from core.errors import InvalidInput, Problem, Unavailable
from files import made_answers, sandbox, storage_errors, stored_bytes
from files.choices import FileStatus
from files.errors import FileMakingFailed, StorageFull
from files.extractors.base import ExtractionFailed
from files.filetypes import extension_of
from files.made_answers import MadePart
from files.makers import registry
from files.makers.base import QUALITIES, RESOLUTIONS, SIDES, USUAL_QUALITY, USUAL_RESOLUTION
from files.models import File, FileContent
from files.services import made_files
from files.services.extraction import extraction_limits
from files.services.made_files import Act

_SPOOL_MEMORY_BYTES = 1024**2
# An act may take a minute and a gigabyte. A caller who asks for many at once shall not have all threads of a server.
MOST_AT_ONCE = 4
_TURN_SECONDS = 2.0
_turns = threading.BoundedSemaphore(MOST_AT_ONCE)
_PAGES = re.compile(r"\s*\d{1,6}(\s*-\s*\d{1,6})?(\s*,\s*\d{1,6}(\s*-\s*\d{1,6})?)*\s*")
_LONGEST_CHOICE = 500
_TARGET_NAMES = {"text": registry.TEXT, "excel": "xlsx"}
_FIELDS = {"page_not_found": ("body", "pages"), "sheet_not_found": ("body", "sheet")}
# What PDFs have between their words now and then; a text file with many of them counts as binary.
_CONTROLS = dict.fromkeys({*range(0x20), 0x7F} - set(map(ord, "\t\n\r\f")))


def convert_file(
    file: File, *, target_format: str, act: Act, sheet: str = "", pages: str = "", dpi: int = USUAL_RESOLUTION
) -> list[File]:
    """Make a file's content anew in another format; several files where the target has no pages or sheets.

    `sheet` (a name, or a number from 1) chooses one of a workbook's; `pages` ("1-3,5") and `dpi` are for pictures of
    a PDF's pages. Raises: InvalidInput (dpi, pages, sheet), FileMakingFailed (UNSUPPORTED_TYPE lists what is possible,
    ENCRYPTED, CORRUPT, TOO_LARGE, TOO_MANY_PAGES, PAGE_NOT_FOUND, SHEET_NOT_FOUND, NO_CONTENT, EXTRACT_TIMEOUT,
    EXTRACT_CRASHED, BYTES_MISSING), FileQuotaExceeded, StorageUnavailable, Unavailable (too many at once); nothing is
    stored then.
    """
    target = _target(file, target_format)
    _check_bounds("dpi", dpi, RESOLUTIONS)
    if len(sheet) > _LONGEST_CHOICE:
        raise _invalid("sheet", f"must have at most {_LONGEST_CHOICE} characters")
    if pages and (len(pages) > _LONGEST_CHOICE or not _PAGES.fullmatch(pages)):
        raise _invalid("pages", 'must be numbers and ranges of pages, for example "1-3,5"')
    if target == registry.TEXT and (sheet or pages):
        raise _invalid("sheet" if sheet else "pages", "a text is made of the whole file; leave this out")
    options = {"target": target, "sheet": sheet, "pages": pages.replace(" ", ""), "dpi": dpi}
    if target == registry.TEXT:
        return _made_once(file, registry.CONVERT, act, lambda answer: _write_text(file, answer))
    return _made_by_child(file, registry.CONVERT, options, act)


def optimize_file(file: File, *, act: Act, quality: int = USUAL_QUALITY) -> File:
    """Make a picture or a PDF smaller; what does not become smaller is a file of the same bytes.

    Raises: as `convert_file`; InvalidInput (quality).
    """
    _check_bounds("quality", quality, QUALITIES)
    _check_source(file, registry.OPTIMIZE)
    [made] = _made_by_child(file, registry.OPTIMIZE, {"quality": quality}, act)
    return made


def resize_image(file: File, *, width: int, height: int, act: Act, keep_ratio: bool = False) -> File:
    """Make a picture of exactly these sides, or as large as fits into them with `keep_ratio`.

    Its sides are in its metadata: image_width, image_height. Raises: as `convert_file`; InvalidInput (width, height).
    """
    _check_bounds("width", width, SIDES)
    _check_bounds("height", height, SIDES)
    most_pixels = extraction_limits().max_image_pixels
    if width * height > most_pixels and not keep_ratio:
        raise _invalid("width", f"width x height must be at most {most_pixels} pixels")
    _check_source(file, registry.RESIZE)
    options = {"width": width, "height": height, "keep_ratio": keep_ratio}
    [made] = _made_by_child(file, registry.RESIZE, options, act)
    return made


def store_text(file: File, *, action: str, text: str, act: Act) -> File | None:
    """Make a text file of what an act has read out of a file; None where it has read nothing."""
    if not text.strip():
        return None
    [made] = _made_once(file, action, act, lambda answer: _write(text, answer))
    return made


# --- What may be asked for -----------------------------------------------------------------------


def _target(file: File, target_format: str) -> str:
    wanted = target_format.strip().lower().lstrip(".")
    target = registry.canonical(_TARGET_NAMES.get(wanted, wanted))
    source = extension_of(file.filename)
    possible = registry.targets_of(source)
    if target in possible:
        return target
    can = f"it can become {', '.join(possible)}" if possible else "nothing can be made of it"
    message = f"target_format: a .{source} file cannot be converted to {wanted[:40]!r}; {can}"
    raise FileMakingFailed(message, code="unsupported_type", field=("body", "target_format"))


def _check_source(file: File, action: str) -> None:
    source, possible = extension_of(file.filename), registry.sources_of(action)
    if source not in possible:
        message = f"A .{source} file cannot be {action}d; possible: {', '.join(possible)}"
        raise FileMakingFailed(message, code="unsupported_type")


def _check_bounds(name: str, value: int, bounds: tuple[int, int]) -> None:
    low, high = bounds
    if not low <= value <= high:
        raise _invalid(name, f"must be between {low} and {high}")


def _invalid(name: str, message: str) -> InvalidInput:
    return InvalidInput(f"{name}: {message}", problems=[Problem(("body", name), message)])


# --- Making --------------------------------------------------------------------------------------


def _made_by_child(file: File, action: str, options: dict[str, Any], act: Act) -> list[File]:
    request = {"job": "make", "action": action, "extension": extension_of(file.filename), "options": options}
    return _made_once(file, action, act, lambda answer: _answered(file, request, answer))


def _made_once(file: File, action: str, act: Act, make: Callable[[IO[bytes]], list[MadePart]]) -> list[File]:
    """Return what the act has made before, else make it: the bytes go to disk, since they may be many."""
    if done := made_files.find(file, act):
        return done
    with _turn(act), _spooled() as answer:
        try:
            parts = make(answer)
        except ExtractionFailed as failure:
            field = _FIELDS.get(failure.code, ("path", "id"))
            raise FileMakingFailed(failure.message, code=failure.code, field=field) from failure
        except FileNotFoundError as error:
            raise FileMakingFailed("The stored bytes of this file are missing", code="bytes_missing") from error
        return made_files.store(file, action, answer, parts, act)


@contextmanager
def _spooled() -> Iterator[IO[bytes]]:
    """Yield a temporary file for what an act gives. Raises: StorageFull where its folder takes no more."""
    try:
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY_BYTES) as answer:
            yield answer
    except OSError as error:
        if storage_errors.is_full(error):
            raise StorageFull from error
        raise


@contextmanager
def _turn(act: Act) -> Iterator[None]:
    """Hold down how many acts run at once in this process; steps are held down by the number of workers.

    Raises: Unavailable.
    """
    if act.execution_id is not None:
        yield
        return
    if not _turns.acquire(timeout=_TURN_SECONDS):
        raise Unavailable("Too many files are being made at this moment; come again")
    try:
        yield
    finally:
        _turns.release()


def _answered(file: File, request: dict[str, Any], answer: IO[bytes]) -> list[MadePart]:
    limits = extraction_limits()
    most_bytes = limits.max_made_bytes + made_answers.LINES_BYTES
    with stored_bytes.opened(file.file_path) as descriptor:
        return_code = sandbox.run_job(
            descriptor, request, limits, answer=answer, max_answer_bytes=most_bytes, warm=settings.EXTRACT_WARM_SERVER
        )
    return made_answers.read(answer, return_code, limits)


def _write_text(file: File, answer: IO[bytes]) -> list[MadePart]:
    """Write the text that the extraction has read, or reads now; the file itself stays as it is."""
    text, truncated = _text_of(file)
    if truncated:
        most = extraction_limits().max_characters
        raise ExtractionFailed("too_large", f"The text has more than {most} characters, the limit")
    if not text.strip():
        raise ExtractionFailed("no_content", "The file has no text")
    return _write(text, answer)


def _write(text: str, answer: IO[bytes]) -> list[MadePart]:
    size_bytes = answer.write(text.translate(_CONTROLS).encode(errors="replace"))
    return [MadePart(registry.TEXT, "", {}, 0, size_bytes)]


def _text_of(file: File) -> tuple[str, bool]:
    content = FileContent.objects.filter(file=file).only("text").first()
    if content is not None and file.status == FileStatus.PROCESSED:
        return content.text, bool(file.extraction_metadata.get("truncated"))
    with stored_bytes.opened(file.file_path) as descriptor:
        extraction = sandbox.run_extraction(
            descriptor, extension_of(file.filename), extraction_limits(), warm=settings.EXTRACT_WARM_SERVER
        )
    return extraction.text, extraction.truncated
