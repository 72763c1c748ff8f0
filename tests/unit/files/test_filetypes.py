"""What a file is by its bytes, beside what its name says."""

import time

import pytest

from files import filetypes
from tests import documents, old_office

BY_EXTENSION = {
    "pdf": documents.pdf(),
    "docx": documents.docx(),
    "xlsx": documents.xlsx(),
    "doc": old_office.doc("words\r"),
    "xls": old_office.xls(["a"]),
    "ods": documents.zipped({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": "<a/>"}),
    "rtf": rb"{\rtf1 words}",
    "txt": b"words",
    "png": documents.picture(kind="PNG"),
    "jpg": documents.picture(kind="JPEG"),
    "tif": documents.picture(kind="TIFF"),
    "bmp": documents.picture(kind="BMP"),
    "webp": documents.picture(kind="WEBP"),
    "gif": documents.picture(kind="GIF"),
}


def fingerprint(content):
    found = filetypes.Fingerprint()
    for start in range(0, len(content), 1000):
        found.update(content[start : start + 1000])
    return found


@pytest.mark.parametrize("extension", BY_EXTENSION)
def test_content_agrees_with_its_own_name_and_with_no_other(extension):
    found = fingerprint(BY_EXTENSION[extension])

    # RTF is text too, as a text file it shows its commands.
    assert [name for name in BY_EXTENSION if found.agrees_with(name) and (extension, name) != ("rtf", "txt")] == [
        extension
    ]


@pytest.mark.parametrize(
    ("extension", "alias"), [("jpg", "jpeg"), ("tif", "tiff"), ("xlsx", "xlsb"), ("txt", "md"), ("txt", "eml")]
)
def test_a_kind_may_have_several_names(extension, alias):
    assert fingerprint(BY_EXTENSION[extension]).agrees_with(alias)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.PNG", "image/png"),
        ("a.tif", "image/tiff"),
        ("a.rtf", "application/rtf"),
        ("a.ods", "application/vnd.oasis.opendocument.spreadsheet"),
        ("a.eml", "message/rfc822"),
        ("a.md", "text/markdown"),
    ],
)
def test_the_mime_type_goes_by_the_name(name, kind):
    assert filetypes.mime_type(name) == kind


@pytest.mark.parametrize("end", [b"<HTML>", b"words"])
def test_comments_before_a_page_are_read_once_however_many_they_are(end):
    began = time.process_time()

    kinds = [filetypes.describe(b" <!-- a -->\n<!---->" * count + end) for count in (1, 12)]

    assert kinds == ["html" if end == b"<HTML>" else "text"] * 2
    assert time.process_time() - began < 1
