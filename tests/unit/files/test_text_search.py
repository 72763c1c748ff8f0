"""What a search costs whatever it says: words that are marked, and names that are compared."""

import time

import pytest
from django.db.models import Q

from files import text_search
from files.models import File, FileContent


@pytest.mark.parametrize(
    ("search", "asked"),
    [
        ("paper ink", "paper ink"),
        ('"paper and ink" or -old', '"paper and ink" or -old'),
        ("paper Paper ink", '"paper" or "ink"'),
        ("a,a;a_a", '"a"'),
        (
            "one two three four five six seven eight nine",
            " or ".join(f'"{word}"' for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")),
        ),
        ("-old", "-old"),
    ],
)
def test_a_long_search_marks_the_first_of_its_words(search: str, asked: str) -> None:
    assert text_search._marked_words(search) == asked


def test_a_headline_of_the_longest_search_takes_no_seconds(upload) -> None:
    file = upload(b"words", "a.txt")
    FileContent.objects.create(file=file, text="a " * 5000)

    def headline(search: str) -> tuple[str, float]:
        began = time.monotonic()
        [found] = File.objects.annotate(headline=text_search.headline(search))
        return text_search.marked(found.headline) or "", time.monotonic() - began

    _, usual_seconds = headline("a")
    marked, seconds = headline("a " * 250)

    # What else the machine is busy with, it is so for both.
    assert seconds < 1.0 + 10 * usual_seconds
    assert "<mark>a</mark>" in marked


def test_names_are_compared_with_a_few_terms_only() -> None:
    terms = [f"w{number}" for number in range(text_search.MOST_NAME_TERMS)]

    assert text_search._in_name(" ".join(terms)) == Q(*[("original_filename__icontains", term) for term in terms])
    assert text_search._in_name(" ".join([*terms, "more"])) is None
