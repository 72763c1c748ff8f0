"""Reads `/metrics`' page as numbers, so that a test can say which of them a deed has raised."""

from prometheus_client.parser import text_string_to_metric_families

from core.api import metrics


def series(text: str = "") -> dict[str, float]:
    """Return value by `name{label="value",...}` (labels sorted) of a page; without one, of this process' page."""
    return {
        _series_name(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(text or metrics.page().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def rises(before: dict[str, float], prefixes: tuple[str, ...]) -> dict[str, float]:
    """Return by how much each counter has risen since; histograms by their `_count` only."""
    return {
        name: value - before.get(name, 0)
        for name, value in series().items()
        if name.startswith(prefixes) and value != before.get(name, 0) and "_bucket{" not in name and "_sum" not in name
    }


def _series_name(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name
