import pytest

from files.api.ranges import NotSatisfiable, Range, parse


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=2-5", 2, 5),
        ("bytes=2-", 2, 9),
        ("bytes=9-9", 9, 9),
        ("bytes=5-999", 5, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-999", 0, 9),
        ("Bytes= 1-2 ", 1, 2),
    ],
)
def test_one_range_is_read_and_cut_at_the_end(header, first, last):
    found = parse(header, size_bytes=10)

    assert found == Range(first, last, 10)
    assert (found.content_range, found.length_bytes) == (f"bytes {first}-{last}/10", last - first + 1)


@pytest.mark.parametrize(
    "header",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4", "bytes=0-1, -1"),
        *(
            "bytes=+1-2",
            "bytes=0x1-2",
            "bytes=\u0661-\u0662",
            "bytes=1.0-2",
            "bytes=0-0\n",
            "bytes=" + "9" * 5000 + "-",
        ),
    ],
    ids=lambda header: ascii(header)[:30],
)
def test_what_is_no_single_range_asks_for_the_whole(header):
    assert parse(header, size_bytes=10) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=99-100", 10), ("bytes=-0", 10), ("bytes=-1", 0)]
)
def test_a_range_behind_the_end_is_told(header, size):
    with pytest.raises(NotSatisfiable):
        parse(header, size_bytes=size)
