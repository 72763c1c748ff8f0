"""How likely a decoded text is to be what was written, by its letters beside ASCII: statistics of bytes alone take
short French for Czech, and Italian for Russian.
"""

import re
import unicodedata
from itertools import islice

# The letters that languages write beside a to z.
_ALPHABETS = tuple(
    frozenset(letters + letters.upper())
    for letters in (
        "àâæçéèêëîïôœùûüÿ",  # French
        "áéíñóúüªº",  # Spanish
        "àáâãçéêíóôõúüªº",  # Portuguese
        "àèéìíîòóù",  # Italian
        "àçéèíïòóúü·",  # Catalan
        "äöüßéàè",  # German
        "åäöæøéüàô",  # Danish, Norwegian, Swedish, Finnish
        "áðéíóúýþæö",  # Icelandic
        "ëïéèóöüäáêç",  # Dutch, Albanian
        "áàâäéêëíïóôöúûüŵŷ",  # Irish, Welsh
        "ąćęłńóśźż",  # Polish
        "áčďéěíňóřšťúůýž",  # Czech
        "áäčďéíĺľňóôŕšťúýž",  # Slovak
        "áéíóöőúüű",  # Hungarian
        "ăâîșțşţ",  # Romanian
        "čćđšž",  # Croatian, Slovene
        "çğıöşüâîûİ",  # Turkish
        "āčēģīķļņšūž",  # Latvian
        "ąčęėįšųūž",  # Lithuanian
        "äõöüšž",  # Estonian
        "ĉĝĥĵŝŭ",  # Esperanto
        "ċġħżàèìòù",  # Maltese
        "ăâđêôơưàáảãạèéẻẽẹìíỉĩịòóỏõọùúủũụỳýỷỹỵ\u0300\u0301\u0303\u0309\u0323",  # Vietnamese
    )
)
_FOREIGN = re.compile(r"(?<![^\x00-\x7f])([\x00-\x7f]?)([^\x00-\x7f]+)(?=([\x00-\x7f]?))")
_SAMPLE_RUNS = 8_000
# Signs that stand between letters, those that only begin a word, and those that touch none.
_BETWEEN_LETTERS, _BEFORE_WORDS = frozenset("\u2018\u2019\u2013\u2014…·\xb4"), frozenset("¿¡")
_APART = frozenset("±¶¦¬¯¨¤\xb8")
_NO_SIGNS = frozenset({"Cc", "Cn", "Co", "Cs"})


def likelihood(text: str) -> float:
    """Return the share of the characters outside ASCII, from 0 to 1, that stand where such a character may."""
    latin: dict[str, int] = {}
    total = good = 0
    for found in islice(_FOREIGN.finditer(text), _SAMPLE_RUNS):
        before, run, after = found.groups()
        total += len(run)
        last = before
        for index, char in enumerate(run):
            follower = run[index + 1] if index + 1 < len(run) else after
            if char.isupper() and last.islower():
                pass  # no language writes so
            elif _is_latin(char):
                latin[char] = latin.get(char, 0) + 1
            elif _may_stand(char, last, follower):
                good += 1
            last = char
    return (good + _in_one_language(latin)) / total if total else 1.0


def _is_latin(char: str) -> bool:
    return char.isalpha() and unicodedata.name(char, "").startswith("LATIN")


def _may_stand(char: str, before: str, after: str) -> bool:
    """Tell whether a sign, or a letter that is not Latin, may stand between these."""
    neighbours = [beside for beside in (before, after) if beside.isalpha()]
    if char.isalpha() or unicodedata.category(char).startswith("M"):
        return not any(beside.isascii() or _is_latin(beside) for beside in neighbours)
    if unicodedata.category(char) in _NO_SIGNS or (char in _BEFORE_WORDS and before.isalpha()):
        return False
    if char in _APART:
        return not neighbours
    return not (before.isalpha() and after.isalpha()) or char in _BETWEEN_LETTERS


def _in_one_language(letters: dict[str, int]) -> int:
    """Return how many of the letters the language knows that knows most of them."""
    return max(sum(count for char, count in letters.items() if char in alphabet) for alphabet in _ALPHABETS)
