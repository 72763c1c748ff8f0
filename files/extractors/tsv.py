"""Tab-separated values: as CSV, but there is no doubt about the delimiter."""

from files.extractors import csv
from files.extractors.base import Extraction, Limits


def extract(content: bytes, limits: Limits) -> Extraction:
    """Return the text; metadata as of CSV."""
    return csv.extract(content, limits, delimiter="\t")
