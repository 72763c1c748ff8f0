"""What the documents name exists: files, links, make targets, settings, packages."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")], key=lambda page: page.as_posix()
)
CARD = {
    "django",
    "djangorestframework",
    "django-celery-beat",
    "celery",
    "redis",
    "psycopg",
    "django-storages",
    "drf-spectacular",
    "pdfplumber",
    "python-docx",
    "pandas",
    "pytest-django",
}
LONGEST_ADR = 40
# Placeholders of explanations, not files.
PATTERNS = ("*", "<", "{", "…")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`([\w./-]+/[\w./-]*)`", page.read_text(encoding="utf-8"))
    paths = [
        path
        for path in named
        if re.match(
            r"(config|core|accounts|files|notifications|workflows|webhooks|"
            r"automation|templates_app|tests|bench|demo|docs|requirements)/",
            path,
        )
    ]

    missing = [path for path in paths if not (ROOT / path).exists()]

    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))

    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    named = set(re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE))

    assert named - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_setting_that_a_page_names_is_in_the_example(page: Path) -> None:
    known = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", (ROOT / ".env.example").read_text(encoding="utf-8")))
    others = {"SKIP", "LOCKED", "FOR", "UPDATE", "SSL_CERT_FILE", "CORPUS_DIR", "BENCH_JSON", "PYTHON", "ARGS", "LANE"}

    named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", page.read_text(encoding="utf-8")))

    assert named - known - others == set()


def test_every_dependency_beside_the_cards_has_a_decision() -> None:
    wanted = set()
    for path in (ROOT / "requirements").glob("*.in"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"[a-zA-Z][\w.-]*", line):
                wanted.add(match[0].lower())
    decided: set[str] = set()
    for path in (ROOT / "docs" / "adr").glob("*.md"):
        decided |= set(re.findall(r"`([a-z0-9-]+)`", path.read_text(encoding="utf-8").split("## Why")[0]))
    # Named instead of celery's extra, as the first decision says.
    assert wanted - decided - CARD - {"packaging"} == set()
    assert decided - wanted == set()


def test_decisions_are_short_and_numbered_without_gaps() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert len(page.read_text(encoding="utf-8").splitlines()) <= LONGEST_ADR, page.name
