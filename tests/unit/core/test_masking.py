"""Secrets are found in every form an encoder gives them, and nothing else is touched."""

import base64
import html
import json
import logging
from urllib.parse import quote, quote_plus, urlencode

import orjson
import pytest

from core import logs, masking
from core.masking import MASK, Needles, mask, needles_of

TOKEN = "tok3nOf40Characters0123456789abcdefghij"
NASTY = "p\"l\\a/n+t é&d=<%'> \n\ts3cr3t~😀!"
SECRETS = (TOKEN, NASTY)


class Known:
    """A source of given needles."""

    def __init__(self, *secrets: str) -> None:
        self._needles = needles_of(secrets)

    def needles(self) -> Needles:
        return self._needles

    loaded = needles


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "form",
    [
        lambda secret: secret,
        json.dumps,
        lambda secret: json.dumps(secret, ensure_ascii=False),
        lambda secret: json.dumps(json.dumps({"deep": secret})),
        lambda secret: orjson.dumps({"deep": secret}).decode(),
        quote,
        lambda secret: quote(secret, safe=""),
        quote_plus,
        lambda secret: quote(quote(secret, safe=""), safe=""),
        lambda secret: urlencode({"key": secret}),
        lambda secret: quote(secret, safe="").replace("%2F", "%2f"),
        html.escape,
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    ],
)
def test_a_secret_is_masked_however_it_was_encoded(secret: str, form) -> None:  # type: ignore[no-untyped-def]
    needles = needles_of(SECRETS)
    text = f"before {form(secret)} after"

    masked = mask({"list": [text]}, needles)["list"][0]

    assert MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    for part in ("tok3nOf40", "s3cr3t", "0123456789", base64.b64encode(secret.encode()).decode()[:12]):
        assert part not in masked


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("before", ["", "a", "us", "use", "user:"])
@pytest.mark.parametrize("after", ["", "x", "xy", "xyz"])
def test_a_secret_inside_base64_is_masked_at_every_alignment(secret: str, before: str, after: str) -> None:
    text = base64.b64encode(f"{before}{secret}{after}".encode()).decode()

    masked = mask(text, needles_of([secret]))

    left = masked.replace(MASK, "")
    # What is left beside the mask is the neighbours' own, and at most the bits shared with them.
    assert MASK in masked
    assert len(left) <= len(base64.b64encode(f"{before}{after}".encode()).decode()) + 4


def test_what_holds_no_secret_comes_back_as_it_is() -> None:
    value = {"a": [1, 2.5, True, None, "text"], "b": {"c": "more"}}

    assert mask(value, needles_of(SECRETS)) is value
    assert mask(value, Needles()) is value


def test_keys_and_numbers_are_masked_too() -> None:
    needles = needles_of(["8412345678", "abcdefgh"])

    assert mask({"n": 8412345678, "abcdefgh": 1, "f": 12, "b": True}, needles) == {
        "n": MASK, MASK: 1, "f": 12, "b": True,
    }  # fmt: skip


def test_a_short_secret_is_masked_only_as_the_whole_text() -> None:
    needles = needles_of(["1234"])

    assert mask(["1234", "12345", 1234], needles) == [MASK, "12345", 1234]


def test_a_secret_within_a_longer_one_leaves_no_rest() -> None:
    needles = needles_of(["abcdef", "abcdef-ghijkl", "abcdefmnopqr"])

    assert mask("x-abcdef-ghijkl-y abcdefmnopqr", needles) == f"x-{MASK}-y {MASK}"


def test_a_value_that_json_cannot_hold_is_searched_all_the_same() -> None:
    assert mask({"big": 2**70, "text": f"<{TOKEN}>"}, needles_of([TOKEN])) == {"big": 2**70, "text": f"<{MASK}>"}


def test_log_lines_are_masked_inside_the_block_only(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    with masking.knowing(Known(*SECRETS)):
        logs.get("test.masking").warning("said", text=NASTY, token=f"Bearer {TOKEN}")
        try:
            raise ValueError(NASTY)
        except ValueError:
            logging.getLogger("somebody.else").exception("it broke with %s", TOKEN)
    logs.get("test.masking").warning("outside", word="s3cr3t")

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "s3cr3t" not in lines[0] + lines[1]
    assert "tok3n" not in lines[0] + lines[1]
    assert json.loads(lines[0])["token"] == f"Bearer {MASK}"
    assert "ValueError" in json.loads(lines[1])["exception"]
    assert json.loads(lines[2])["word"] == "s3cr3t"


def test_hiding_a_long_text_full_of_backslashes_ends_soon() -> None:
    needles = needles_of(['\\"\\"secret\\"'])

    assert mask("\\" * 200_000 + "secret", needles).endswith("secret")
