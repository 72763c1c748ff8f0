"""Pictures and PDFs into other formats, sizes and lengths: pixels, pages, and what must not come along."""

import io

import pikepdf
import pypdfium2 as pdfium
import pytest
from PIL import Image, ImageCms, ImageDraw

from files.extractors.base import ExtractionFailed, Limits
from files.makers import registry
from files.makers.base import Made, Work
from tests import documents

PICTURES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tiff": "TIFF", "bmp": "BMP", "gif": "GIF"}
RED, BLUE = (200, 30, 30), (30, 30, 200)


def work(action: str, extension: str, content: bytes, limits: Limits | None = None, **options: object) -> list[Made]:
    return list(registry.load(action, extension, options)(Work(content, extension, options, limits or Limits())))


def convert(extension: str, content: bytes, target: str, **options: object) -> list[Made]:
    return work("convert", extension, content, target=target, **({"dpi": 72} | options))


def optimize(extension: str, content: bytes, quality: int = 60) -> bytes:
    [made] = work("optimize", extension, content, quality=quality)
    return made.content


def resize(extension: str, content: bytes, width: int, height: int, *, keep_ratio: bool = False) -> Made:
    [made] = work("resize", extension, content, width=width, height=height, keep_ratio=keep_ratio)
    return made


def saved(picture: Image.Image, kind: str, **saving: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **saving)
    return buffer.getvalue()


def halves(size: tuple[int, int] = (64, 32)) -> Image.Image:
    """Return a picture whose left half is red and whose right half is blue."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    return picture


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def is_near(colour: object, expected: tuple[int, int, int]) -> bool:
    return isinstance(colour, tuple) and all(abs(a - b) <= 12 for a, b in zip(colour, expected, strict=False))


@pytest.mark.parametrize("target", PICTURES)
@pytest.mark.parametrize("source", PICTURES)
def test_every_picture_format_becomes_every_other(source, target):
    if source == target:
        assert target not in registry.targets_of(source)
        return
    [made] = convert(source, saved(halves(), PICTURES[source]), target)

    picture = opened(made.content)
    shown = picture.convert("RGB")
    assert (picture.format, picture.size, made.label) == (PICTURES[target], (64, 32), "")
    assert made.facts == {"image_width": 64, "image_height": 32}
    assert is_near(shown.getpixel((10, 16)), RED)
    assert is_near(shown.getpixel((54, 16)), BLUE)


@pytest.mark.parametrize("source", PICTURES)
def test_every_picture_format_becomes_a_pdf(source):
    [made] = convert(source, saved(halves(), PICTURES[source]), "pdf")

    document = pdfium.PdfDocument(made.content)
    shown = document[0].render().to_pil().convert("RGB")
    assert (len(document), made.extension) == (1, "pdf")
    assert is_near(shown.getpixel((shown.width // 4, shown.height // 2)), RED)
    assert is_near(shown.getpixel((shown.width * 3 // 4, shown.height // 2)), BLUE)
    assert convert(source, saved(halves(), PICTURES[source]), "pdf")[0].content == made.content


def test_a_turned_photograph_is_shown_upright_and_tells_no_place():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    exif[0x010F] = "A camera"
    photograph = saved(halves(), "JPEG", exif=exif, comment=b"a secret", quality=95)

    for target in ("png", "webp", "tiff", "gif", "bmp"):
        [made] = convert("jpg", photograph, target)
        picture = opened(made.content)
        assert (picture.size, made.facts) == ((32, 64), {"image_width": 32, "image_height": 64})
        assert is_near(picture.convert("RGB").getpixel((16, 10)), RED)
        assert not {0x8825, 0x010F, 0x0112} & set(picture.getexif())
        assert not any(words in made.content for words in (b"A camera", b"a secret"))
    for content in (optimize("jpg", photograph), resize("jpg", photograph, 16, 32).content):
        assert dict(opened(content).getexif()) == {}
        assert b"a secret" not in content


def test_what_is_transparent_is_white_where_the_target_is_opaque():
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    picture.paste((*RED, 255), (0, 0, 10, 20))
    source = saved(picture, "PNG")

    for target in ("jpg", "bmp"):
        shown = opened(convert("png", source, target)[0].content)
        assert shown.mode == "RGB"
        assert is_near(shown.getpixel((15, 5)), (255, 255, 255))
        assert is_near(shown.getpixel((4, 5)), RED)
    for target in ("webp", "tiff", "gif"):
        assert opened(convert("png", source, target)[0].content).convert("RGBA").getpixel((15, 5))[3] == 0


def test_a_colour_profile_stays_with_its_colours():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = saved(halves(), "PNG", icc_profile=profile)

    assert opened(convert("png", source, "jpg")[0].content).info["icc_profile"] == profile
    assert opened(resize("png", source, 8, 8).content).info["icc_profile"] == profile


def test_greys_of_sixteen_bits_keep_their_shades():
    source = Image.new("I;16", (4, 1))
    for column, value in enumerate((0, 20_000, 40_000, 60_000)):
        source.putpixel((column, 0), value)

    [made] = convert("png", saved(source, "PNG"), "bmp")

    # As every viewer shows them, whichever greys the picture has beside: 65535 is white.
    assert list(opened(made.content).tobytes()) == [0, 78, 156, 233]


def test_greys_of_no_known_range_are_spread_from_black_to_white():
    source = Image.new("F", (3, 1))
    for column, value in enumerate((-1.0, 0.0, 1.0)):
        source.putpixel((column, 0), value)

    [made] = convert("tiff", saved(source, "TIFF"), "bmp")

    assert list(opened(made.content).tobytes())[:3] == [0, 127, 255]


def test_scans_in_black_and_white_become_a_pdf_alone_and_beside_colour():
    page = Image.new("1", (64, 32), 1)
    page.paste(0, (0, 0, 32, 32))
    scan = saved(page, "TIFF", compression="group4")
    mixed = saved(page, "TIFF", save_all=True, append_images=[halves()])

    [alone] = convert("tiff", scan, "pdf")
    [beside] = convert("tiff", mixed, "pdf")

    rendered = pdfium.PdfDocument(alone.content)[0].render().to_pil().convert("RGB")
    assert is_near(rendered.getpixel((10, 16)), (0, 0, 0))
    assert is_near(rendered.getpixel((54, 16)), (255, 255, 255))
    pages = [page.render().to_pil().convert("RGB") for page in pdfium.PdfDocument(beside.content)]
    assert is_near(pages[0].getpixel((10, 16)), (0, 0, 0))
    assert is_near(pages[1].getpixel((10, 16)), RED)
    # Dots stay dots: as a fax they need no JPEG.
    assert b"CCITTFaxDecode" in alone.content


def test_every_page_of_a_tiff_becomes_a_picture_and_a_page():
    pages = [halves(), halves((32, 64)), halves((10, 10))]
    source = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])

    made = convert("tiff", source, "png")

    assert [(one.label, opened(one.content).size) for one in made] == [
        ("1", (64, 32)),
        ("2", (32, 64)),
        ("3", (10, 10)),
    ]
    assert len(pdfium.PdfDocument(convert("tiff", source, "pdf")[0].content)) == 3


def test_of_an_animation_the_first_picture_is_taken():
    source = saved(halves(), "GIF", save_all=True, append_images=[Image.new("RGB", (64, 32), BLUE)])

    [made] = convert("gif", source, "png")

    assert is_near(opened(made.content).convert("RGB").getpixel((5, 5)), RED)
    with pytest.raises(ExtractionFailed, match="A file of 2 pictures cannot be resized") as refusal:
        resize("gif", source, 5, 5)
    assert refusal.value.code == "unsupported_type"


# --- PDF pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "kind"), PICTURES.items())
def test_every_page_of_a_pdf_becomes_a_picture(target, kind):
    made = convert("pdf", documents.pdf("one", "two"), target, dpi=36)

    assert [(one.extension, one.label) for one in made] == [(target, "1"), (target, "2")]
    for one in made:
        picture = opened(one.content)
        assert (picture.format, picture.size) == (kind, (298, 421))
        assert picture.convert("L").getextrema()[0] < 150  # there are letters


@pytest.mark.parametrize(
    ("pages", "labels"),
    [("2", ["2"]), ("1-3", ["1", "2", "3"]), ("3,1", ["3", "1"]), ("2-3, 1,2", ["2", "3", "1"]), ("", list("1234"))],
)
def test_pages_can_be_chosen(pages, labels):
    made = convert("pdf", documents.pdf("a", "b", "c", "d"), "png", pages=pages, dpi=20)

    assert [one.label for one in made] == labels


def test_the_only_page_needs_no_number():
    assert [one.label for one in convert("pdf", documents.pdf("a"), "png")] == [""]


@pytest.mark.parametrize("pages", ["5", "0", "3-2", "1-5", "x", "1,,2"])
def test_pages_that_are_not_there_are_refused(pages):
    with pytest.raises(ExtractionFailed, match="the PDF has 4") as refusal:
        convert("pdf", documents.pdf("a", "b", "c", "d"), "png", pages=pages)

    assert refusal.value.code == "page_not_found"


def test_too_many_pages_and_too_large_pages_are_refused_with_the_limit():
    content = documents.pdf("a", "b", "c")
    with pytest.raises(ExtractionFailed, match=r"3 pages; the limit is 2") as many:
        work("convert", "pdf", content, Limits(max_made_files=2), target="png", dpi=72)
    with pytest.raises(ExtractionFailed, match=r"Page 1 would have 2480 x 3508 pixels; the limit is 1 meg") as large:
        work("convert", "pdf", content, Limits(max_page_pixels=1_000_000), target="png", dpi=300)

    assert (many.value.code, large.value.code) == ("too_many_pages", "too_large")


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (documents.truncated_pdf(), "corrupt", "The PDF cannot be parsed"),
        (b"<html>no pdf</html>", "type_mismatch", "The name says pdf, the content is html"),
    ],
)
def test_what_is_no_pdf_is_named_alike_by_all_makers(content, code, message):
    for act in (lambda: convert("pdf", content, "png"), lambda: optimize("pdf", content)):
        with pytest.raises(ExtractionFailed) as refusal:
            act()
        assert (refusal.value.code, refusal.value.message) == (code, message)


def test_a_pdf_with_a_password_is_named_as_such():
    content = documents.pdf("secret", password="word")
    for act in (lambda: convert("pdf", content, "png"), lambda: optimize("pdf", content)):
        with pytest.raises(ExtractionFailed, match="The PDF needs a password") as refusal:
            act()
        assert refusal.value.code == "encrypted"


# --- Smaller -------------------------------------------------------------------------------------


def noisy(size: tuple[int, int] = (300, 200)) -> Image.Image:
    return Image.effect_noise(size, 60).convert("RGB")


def test_photographs_become_smaller_with_the_quality_asked_for():
    for extension, kind in (("jpg", "JPEG"), ("webp", "WEBP")):
        source = saved(noisy(), kind, quality=95)

        better, worse = optimize(extension, source, 80), optimize(extension, source, 20)

        assert len(worse) < len(better) < len(source)
        assert (opened(worse).format, opened(worse).size) == (kind, (300, 200))


def test_png_and_lossless_webp_become_smaller_without_losing_a_pixel():
    drawing = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(drawing).ellipse((30, 30, 250, 150), fill=RED, outline=BLUE, width=5)
    for extension, source in (
        ("png", saved(drawing, "PNG", compress_level=1)),
        ("webp", saved(drawing, "WEBP", lossless=True, quality=0, method=0)),
    ):
        smaller = optimize(extension, source, 1)

        assert len(smaller) <= len(source)
        assert opened(smaller).convert("RGB").tobytes() == drawing.tobytes()
    assert len(optimize("png", saved(drawing, "PNG", compress_level=1))) < len(saved(drawing, "PNG"))


@pytest.mark.parametrize("extension", ["jpg", "png", "webp"])
def test_what_does_not_become_smaller_is_given_byte_for_byte(extension):
    smallest = optimize(extension, saved(noisy((40, 40)), PICTURES[extension], quality=30), 30)

    assert optimize(extension, smallest, 95) == smallest


def test_an_animation_is_not_cut_down_to_its_first_picture():
    source = saved(halves(), "WEBP", save_all=True, append_images=[Image.new("RGB", (64, 32), BLUE)])

    assert optimize("webp", source) == source


def photographs(content: bytes) -> list[tuple[int, int]]:
    with pikepdf.open(io.BytesIO(content)) as document:
        return [(int(image.Width), int(image.Height)) for image in document.pages[0].Resources.XObject.values()]


def pdf_of(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PDF", quality=98)
    return buffer.getvalue()


def test_a_pdf_becomes_smaller_and_shows_the_same_page():
    source = pdf_of(noisy((800, 600)))

    smaller = optimize("pdf", source, 40)

    before, after = (pdfium.PdfDocument(content)[0].render().to_pil().convert("L") for content in (source, smaller))
    assert len(smaller) < len(source) / 2
    assert photographs(smaller) == [(800, 600)]
    assert before.size == after.size
    assert abs(before.resize((1, 1)).getpixel((0, 0)) - after.resize((1, 1)).getpixel((0, 0))) <= 3


def test_a_pdf_keeps_its_text_and_photographs_larger_than_print_become_smaller():
    words = optimize("pdf", documents.pdf("These words", "stay"))
    large = optimize("pdf", pdf_of(noisy((3600, 1200))), 60)

    assert "These words" in pdfium.PdfDocument(words)[0].get_textpage().get_text_bounded()
    assert photographs(large) == [(2900, 967)]


def test_a_signed_or_restricted_pdf_is_given_byte_for_byte():
    plain = pdf_of(noisy())
    with pikepdf.open(io.BytesIO(plain)) as document:
        document.Root.AcroForm = document.make_indirect(pikepdf.Dictionary(SigFlags=3, Fields=[]))
        signed = io.BytesIO()
        document.save(signed)
    with pikepdf.open(io.BytesIO(plain)) as document:
        restricted = io.BytesIO()
        document.save(restricted, encryption=pikepdf.Encryption(owner="owner", user=""))

    assert optimize("pdf", signed.getvalue()) == signed.getvalue()
    assert optimize("pdf", restricted.getvalue()) == restricted.getvalue()


def test_the_same_pdf_is_optimized_into_the_same_bytes():
    assert optimize("pdf", pdf_of(halves())) == optimize("pdf", pdf_of(halves()))


# --- Other sizes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("extension", "kind"), PICTURES.items())
def test_a_picture_is_resized_in_its_own_format(extension, kind):
    made = resize(extension, saved(halves(), kind), 20, 30)

    picture = opened(made.content)
    assert (picture.format, picture.size, made.label) == (kind, (20, 30), "20x30")
    assert made.facts == {"image_width": 20, "image_height": 30}
    assert is_near(picture.convert("RGB").getpixel((3, 15)), RED)


@pytest.mark.parametrize(("box", "size"), [((32, 32), (32, 16)), ((200, 50), (100, 50)), ((1, 10_000), (1, 1))])
def test_a_picture_can_keep_its_ratio(box, size):
    assert opened(resize("png", saved(halves(), "PNG"), *box, keep_ratio=True).content).size == size


# --- Hostile -------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["convert", "optimize", "resize"])
def test_a_bomb_is_refused_by_its_header(action):
    content = saved(Image.new("1", (10_000, 6_000)), "PNG")
    options = {"target": "jpg", "quality": 80, "width": 5, "height": 5, "keep_ratio": False}

    with pytest.raises(ExtractionFailed, match="10000 x 6000 pixels; the limit is 50 megapixels") as refusal:
        work(action, "png", content, **options)

    assert refusal.value.code == "too_large"


@pytest.mark.parametrize("extension", PICTURES)
def test_a_damaged_picture_is_corrupt(extension):
    content = saved(noisy(), PICTURES[extension])[:400]

    with pytest.raises(ExtractionFailed) as refusal:
        convert(extension, content, "png" if extension != "png" else "jpg")

    assert refusal.value.code == "corrupt"


def test_a_picture_that_lies_about_its_format_is_read_by_no_other_decoder():
    with pytest.raises(ExtractionFailed) as refusal:
        convert("png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "jpg")

    assert refusal.value.code == "type_mismatch"


def test_a_side_longer_than_the_target_knows_is_refused():
    with pytest.raises(ExtractionFailed, match="the longest side of a WEBP picture is 16383") as refusal:
        convert("png", saved(Image.new("L", (17_000, 10)), "PNG"), "webp")

    assert refusal.value.code == "too_large"
