"""What `make fuzz` found, each as small as it can be."""

import io
import struct

import pytest

from files.extractors import csv, image, rtf, xlsb
from files.extractors.base import ExtractionFailed, Limits
from tests import documents
from tests.unit.files import test_workbooks as workbooks


def test_zero_bytes_in_a_csv_file_are_passed_over():
    content = b"id,name\n" + b"1,Ada\n" * 30 + b"2,B\0o\n"

    result = csv.extract(content, Limits())

    assert (result.metadata["csv_total_rows"], result.metadata["csv_delimiter"]) == (32, ",")
    assert result.text.endswith("2,Bo\n")


def test_zero_bytes_beyond_the_sample_of_the_dialect_are_passed_over():
    content = b"id,name\n" + b"1,Ada\n" * 5_000 + b"2,B\0o\n"

    assert csv.extract(content, Limits()).metadata["csv_total_rows"] == 5_002


def test_a_picture_that_is_only_a_line_cannot_be_searched_for_letters():
    with pytest.raises(ExtractionFailed, match="cannot be searched for letters") as refused:
        image.extract(documents.picture(size=(60_000, 2), kind="TIFF"), Limits())

    assert refused.value.code == "corrupt"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_first_page_of_a_tiff_is_read_though_the_second_has_no_size():
    first, second = (documents.drawn(word, size=(400, 200)) for word in ("First", "Second"))
    buffer = io.BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=[second])
    content = bytearray(buffer.getvalue())
    # The width's number in the second page's directory becomes another.
    at = content.rfind(struct.pack("<HHI", 256, 4, 1))
    content[at : at + 2] = b"\xfe\xff"

    result = image.extract(bytes(content), Limits())

    assert (result.text, result.metadata["image_pages"]) == ("First", 1)


def test_a_workbook_over_which_calamine_panics_is_damaged():
    parts = workbooks.xlsb_parts("Zoë")
    parts["xl/_rels/workbook.bin.rels"] = documents.relations()

    with pytest.raises(ExtractionFailed, match="The workbook is damaged: no entry found") as refused:
        xlsb.extract(documents.zipped(parts), Limits())

    assert refused.value.code == "corrupt"


def test_a_title_of_a_megabyte_is_cut():
    content = rb"{\rtf1{\info{\title " + b"x" * 1_000_000 + rb"}}words\par}"

    assert rtf.extract(content, Limits()).metadata["title"] == "x" * 1_000
