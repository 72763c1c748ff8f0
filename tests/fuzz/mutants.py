"""Mutants by number: the same number of the same seed is damaged in the same way, however many are made.

Documents that libraries write for us carry dates and random ids, so their bytes differ from run to run: what failed is
kept as a file (`--keep`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.fuzz import damage, damage_binary, damage_text, damage_zip
from tests.fuzz.damage import Damage
from tests.fuzz.seeds import Seed, Seeds

_ZIPS = ("docx", "docm", "xlsx", "xlsm", "xlsb", "ods")
_PICTURES = ("png", "jpg", "jpeg", "gif", "tif", "tiff", "bmp", "webp")
_TEXTS = ("txt", "csv", "tsv", "html", "htm", "md", "markdown", "json", "xml", "eml", "rtf")
_OWN_DAMAGE: dict[str, tuple[Damage, ...]] = {
    **dict.fromkeys(_ZIPS, damage_zip.ZIP),
    **dict.fromkeys(_TEXTS, damage_text.TEXT),
    **dict.fromkeys(_PICTURES, damage_binary.PICTURE),
    **dict.fromkeys(("doc", "xls"), damage_binary.OLE),
    "pdf": damage_binary.PDF,
}
# The product's own limit of uploads; what grows over it never reaches an extractor.
_MOST_BYTES = 10 * 1024**2
# Formats of many inner parts get more turns than the others.
_MORE_TURNS = ("pdf", "pdf", "pdf", "docx", "docx", "xlsx", "xlsx", "doc", "doc", "xls", "csv")
# How many kinds of damage one mutant has.
_TIMES = (1, 1, 1, 2, 2, 3)


@dataclass(frozen=True)
class Mutant:
    """A damaged document and how it came to be."""

    number: int
    extension: str
    recipe: str
    content: bytes

    @property
    def name(self) -> str:
        return f"mutant {self.number}.{self.extension}"


def drawn(seeds: Seeds, *, seed: str, numbers: range) -> Iterator[Mutant]:
    """Make the mutants of these numbers; the formats take turns, so that each gets its share."""
    extensions = [*sorted(seeds), *_MORE_TURNS]
    for number in numbers:
        extension = extensions[number % len(extensions)]
        yield _mutant(number, extension, Random(f"{seed} {number}"), seeds)


def _mutant(number: int, extension: str, dice: Random, seeds: Seeds) -> Mutant:
    origin = dice.choice(seeds[extension])
    other = _other(dice, extension, seeds)
    content, done = origin.content, []
    kinds = (*_OWN_DAMAGE[extension], *damage.ANY)
    weights = [2 if kind in _OWN_DAMAGE[extension] else 1 for kind in kinds]
    for kind in dice.choices(kinds, weights, k=dice.choice(_TIMES)):
        content = kind(content, dice, other.content)[:_MOST_BYTES]
        done.append(kind.__name__)
    # A few keep their bytes and lie by their name.
    if dice.random() < 0.02:
        extension = dice.choice(sorted(seeds))
        done.append(f"called {extension}")
    return Mutant(number, extension, f"{origin.name}: {', '.join(done)} ({other.name})", content)


def _other(dice: Random, extension: str, seeds: Seeds) -> Seed:
    """Choose a second document, mostly of the same format."""
    return dice.choice(seeds[extension if dice.random() < 0.7 else dice.choice(sorted(seeds))])
