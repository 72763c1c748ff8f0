"""What a search means: the words of a text by its index, and parts of a name."""

import html
import re
from collections.abc import Iterator

from django.contrib.postgres.search import SearchHeadline, SearchQuery
from django.db.models import Exists, Func, OuterRef, Q, TextField, Value
from django.db.models.functions import Left

from files.models import FileContent

LONGEST_SEARCH = 500
HEADLINE_CHARACTERS = 10_000
# PostgreSQL takes seconds for one headline of a query of many words, or of one word many times.
MOST_HEADLINE_WORDS = 8
# Every name is compared with each of them.
MOST_NAME_TERMS = 16
_CONFIG = "simple"
_WORD = re.compile(r"[^\W_]+")
# Control characters that mark a hit until the text is escaped; they are taken out of the text itself.
_BEGIN, _END = "\x02", "\x03"
_TERM = re.compile(r'(?P<excluded>-?)(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))')


def query_of(search: str) -> SearchQuery:
    """Return PostgreSQL's query of a search: words, "a phrase", -not and `or` (websearch_to_tsquery)."""
    return SearchQuery(search, config=_CONFIG, search_type="websearch")


def matches(search: str) -> Q:
    """Return the condition of files whose text matches, or whose name has every word and phrase in it.

    A name may have them anywhere, as a part of a word too. A search with exclusions asks the texts only: a name
    cannot tell what its text lacks. So does one of more than MOST_NAME_TERMS words and phrases.
    """
    # EXISTS and not IN: PostgreSQL asks the index once where few texts match, and each file's own text where too
    # many do to be kept in memory.
    in_text = Q(Exists(FileContent.objects.filter(file=OuterRef("pk"), search=query_of(search))))
    in_name = _in_name(search)
    # The name first: it costs less, and the texts are asked only where it does not match.
    return in_text if in_name is None else in_name | in_text


def headline(search: str) -> SearchHeadline:
    """Return an expression of files: where the search stands in the first HEADLINE_CHARACTERS of the text.

    Null without a text. Pass it through `marked` before it is shown.
    """
    beginning = Left("content__text", HEADLINE_CHARACTERS, output_field=TextField())
    clean = Func(beginning, Value(_BEGIN + _END), Value(""), function="TRANSLATE", output_field=TextField())
    return SearchHeadline(
        clean,
        query_of(_marked_words(search)),
        config=_CONFIG,
        start_sel=_BEGIN,
        stop_sel=_END,
        min_words=10,
        max_words=30,
        max_fragments=2,
        fragment_delimiter=" … ",
    )


def marked(raw: str | None) -> str | None:
    """Return a headline as HTML that is safe to show: escaped, hits in <mark>; None when there is no hit in it."""
    if not raw or _BEGIN not in raw:
        return None
    escaped = html.escape(" ".join(raw.split()))
    return escaped.replace(_BEGIN, "<mark>").replace(_END, "</mark>")


def _marked_words(search: str) -> str:
    """Return a search whose headline costs little: itself, or the first of its different words where it is long."""
    texts = [text.lower() for excluded, text, is_word in _terms(search) if not excluded and not _is_or(text, is_word)]
    words = [word for text in texts for word in _WORD.findall(text)]
    different = list(dict.fromkeys(words))
    if len(words) == len(different) <= MOST_HEADLINE_WORDS:
        return search
    return " or ".join(f'"{word}"' for word in different[:MOST_HEADLINE_WORDS])


def _is_or(text: str, is_word: bool) -> bool:
    return is_word and text.lower() == "or"


def _in_name(search: str) -> Q | None:
    """Return the condition of names, or None where a search asks the texts only."""
    terms = list(_terms(search))
    if len(terms) > MOST_NAME_TERMS:
        return None
    groups: list[Q] = [Q()]
    for excluded, text, is_word in terms:
        if excluded:
            return None
        if _is_or(text, is_word):
            groups.append(Q())
        elif text:
            groups[-1] &= Q(original_filename__icontains=text)
    found = [group for group in groups if group]
    if not found:
        return None
    condition = found[0]
    for group in found[1:]:
        condition |= group
    return condition


def _terms(search: str) -> Iterator[tuple[bool, str, bool]]:
    """Yield (is excluded, text, is a bare word) of each part of a search."""
    for term in _TERM.finditer(search):
        word = term["word"]
        yield bool(term["excluded"]), (term["phrase"] or "").strip() if word is None else word, word is not None
