"""PDFs in fewer bytes, by qpdf (pikepdf). Only ever called in the child.

Objects are packed into streams, streams packed again, what nothing refers to is left out, and photographs (JPEG) are
encoded again where that saves a tenth. A signed or restricted document is given back byte for byte: any change would
break its signature, or take off its restrictions. So is one that does not become smaller.
"""

import io
from collections.abc import Iterator
from typing import Any

import pikepdf
from PIL import Image

from files.extractors.base import ExtractionFailed, Limits
from files.extractors.image import DAMAGE
from files.extractors.pdf_document import check_type
from files.makers.base import Made, Work

# A page of A4 at 250 dots per inch; more is seen by nobody.
_LONGEST_SIDE = 2_900
# Less is not worth a second loss of quality.
_WORTH_IT = 0.9
_SIGNED = 1
_MODES = {"/DeviceRGB": "RGB", "/DeviceGray": "L"}
_CHANNELS = {3: "RGB", 1: "L"}


def optimize(work: Work) -> Iterator[Made]:
    """Make a smaller PDF, at the worst the same. Raises ExtractionFailed: encrypted, corrupt, too_many_pages."""
    check_type(work.content)
    try:
        smaller = _smaller(work)
    except pikepdf.PasswordError as error:
        raise ExtractionFailed("encrypted", "The PDF needs a password") from error
    except pikepdf.PdfError as error:
        raise ExtractionFailed("corrupt", "The PDF cannot be parsed") from error
    yield Made("pdf", min(work.content, smaller, key=len), label="optimized")


def _smaller(work: Work) -> bytes:
    with pikepdf.open(io.BytesIO(work.content)) as document:
        if len(document.pages) > work.limits.max_pdf_pages:
            message = f"{len(document.pages)} pages; the limit is {work.limits.max_pdf_pages}"
            raise ExtractionFailed("too_many_pages", message)
        if document.is_encrypted or _is_signed(document):
            return work.content
        _encode_photographs(document, work.options["quality"], work.limits)
        document.remove_unreferenced_resources()
        written = io.BytesIO()
        pikepdf.settings.set_flate_compression_level(9)
        document.save(
            written,
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
            compress_streams=True,
            recompress_flate=True,
            deterministic_id=True,
        )
        return written.getvalue()


def _is_signed(document: Any) -> bool:
    form = document.Root.get("/AcroForm")
    return form is not None and bool(int(form.get("/SigFlags", 0)) & _SIGNED)


def _encode_photographs(document: Any, quality: int, limits: Limits) -> None:
    for item in document.objects:
        if isinstance(item, pikepdf.Stream) and item.get("/Subtype") == "/Image" and _is_plain_photograph(item):
            _encode(item, quality, limits)


def _is_plain_photograph(image: Any) -> bool:
    """Tell whether an image is one JPEG in grey or red, green and blue whose values mean just what they say."""
    filters = image.get("/Filter")
    is_jpeg = filters == "/DCTDecode" or (isinstance(filters, pikepdf.Array) and list(filters) == ["/DCTDecode"])
    is_keyed = isinstance(image.get("/Mask"), pikepdf.Array)
    parameters = ("/Decode", "/DecodeParms", "/SMaskInData")
    return is_jpeg and not is_keyed and not any(name in image for name in parameters) and _mode(image) is not None


def _mode(image: Any) -> str | None:
    """Return Pillow's mode of an image's colours, None for those that are left alone."""
    space = image.get("/ColorSpace")
    if isinstance(space, pikepdf.Name):
        return _MODES.get(str(space))
    if isinstance(space, pikepdf.Array) and len(space) > 1 and space[0] == "/ICCBased":
        return _CHANNELS.get(int(space[1].get("/N", 0)))
    return None


def _encode(image: Any, quality: int, limits: Limits) -> None:
    """Replace an image's bytes by fewer; one that cannot be decoded stays as it is."""
    before = image.read_raw_bytes()
    try:
        after = _encoded(before, str(_mode(image)), quality, limits)
    except DAMAGE:
        return
    if after is None or len(after[0]) > len(before) * _WORTH_IT:
        return
    content, width, height = after
    image.write(content, filter=pikepdf.Name.DCTDecode)
    image.Width, image.Height, image.BitsPerComponent = width, height, 8


def _encoded(content: bytes, mode: str, quality: int, limits: Limits) -> tuple[bytes, int, int] | None:
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
        if picture.mode != mode or picture.width * picture.height > limits.max_image_pixels:
            return None
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
        plain = picture.copy()
    plain.info = {}
    written = io.BytesIO()
    plain.save(written, "JPEG", quality=quality, optimize=True, progressive=True)
    return written.getvalue(), plain.width, plain.height
