"""What `file_process` makes: files converted, optimized and resized, and the text of pictures, as files of their own.

A step that is repeated after a crash finds the files that it made and makes none again: the act's key holds the
execution, the step's path, and what was to be made of which file.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from files import services as files
from files.filetypes import extension_of
from files.models import File
from workflows.engine.steps.base import StepContext

if TYPE_CHECKING:
    from workflows.engine.steps.file_process import FileProcessConfig


def convert(file: File, config: "FileProcessConfig", context: StepContext) -> dict[str, Any]:
    """Return {output_file_id, output_file_ids, format}."""
    options = {
        "target_format": config.target_format,
        "sheet": "" if config.sheet is None else str(config.sheet),
        "pages": "" if config.pages is None else str(config.pages),
        "dpi": config.dpi,
    }
    made = files.convert_file(file, act=act_of(file, "convert", options, context), **options)  # type: ignore[arg-type]
    return told(made, context) | {"format": extension_of(made[0].filename)}


def optimize(file: File, config: "FileProcessConfig", context: StepContext) -> dict[str, Any]:
    """Return {output_file_id, output_file_ids, original_size, optimized_size, unchanged}."""
    act = act_of(file, "optimize", {"quality": config.quality}, context)
    made = files.optimize_file(file, quality=config.quality, act=act)
    return told([made], context) | {
        "original_size": file.file_size,
        "optimized_size": made.file_size,
        "unchanged": made.file_hash == file.file_hash,
    }


def resize(file: File, config: "FileProcessConfig", context: StepContext) -> dict[str, Any]:
    """Return {output_file_id, output_file_ids, width, height}: the sides that the picture has now."""
    options = {"width": config.width, "height": config.height, "keep_ratio": config.keep_ratio}
    made = files.resize_image(file, act=act_of(file, "resize", options, context), **options)  # type: ignore[arg-type]
    sides = made.extraction_metadata
    return told([made], context) | {"width": sides["image_width"], "height": sides["image_height"]}


MAKERS: dict[str, Callable[[File, "FileProcessConfig", StepContext], dict[str, Any]]] = {
    "convert": convert,
    "optimize": optimize,
    "resize": resize,
}


def keep_text(file: File, text: str, language: str, context: StepContext) -> dict[str, Any]:
    """Make a file of the words that were read; {} where there are none."""
    act = act_of(file, "ocr_extract", {"language": language}, context)
    made = files.store_text(file, action="ocr_extract", text=text, act=act)
    return told([made], context) if made else {}


def act_of(file: File, action: str, options: dict[str, Any], context: StepContext) -> files.Act:
    """Return the act of a step: the same for all its attempts, another where it is to make something else."""
    wanted = orjson.dumps([context.idempotency_key, file.pk, action, options], option=orjson.OPT_SORT_KEYS)
    return files.Act(
        correlation_id=context.correlation_id,
        key=f"step:{hashlib.sha256(wanted).hexdigest()}",
        execution_id=context.execution_id,
        step=context.path,
        version_id=context.version_id,
    )


def told(made: Sequence[File], context: StepContext) -> dict[str, Any]:
    """Note the files with the execution, and return what the step says of them."""
    ids = [file.pk for file in made]
    context.output_file_ids += ids
    return {"output_file_id": ids[0], "output_file_ids": ids}
