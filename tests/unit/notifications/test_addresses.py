"""Addresses and header texts: one value is one address, and never a second header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.addresses import header_text, parse_addresses
from notifications.errors import InvalidMessage


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("ada@example.com", ("ada@example.com",)),
        (" ada@example.com ", ("ada@example.com",)),
        ("Ada <ada@example.com>", ("Ada <ada@example.com>",)),
        ('"Lovelace, Ada" <ada@example.com>', ('"Lovelace, Ada" <ada@example.com>',)),
        ("ops@localhost", ("ops@localhost",)),
        ("info@bücher.example", ("info@xn--bcher-kva.example",)),
        (["a@example.com", "b@example.com"], ("a@example.com", "b@example.com")),
        (["a@example.com", " ", ""], ("a@example.com",)),
        ("", ()),
    ],
)
def test_addresses_are_taken_as_given(value: str | list[str], parsed: tuple[str, ...]) -> None:
    assert parse_addresses(value, field="to") == parsed


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a@example.com, b@example.com", "is not a mail address; give a list for several addresses"),
        ("a@example.com <b@example.com>, c@example.com", "give a list for several"),
        ("nobody", "to: 'nobody' is not a mail address"),
        ("a b@example.com", "is not a mail address"),
        ("<a@example.com", "is not a mail address"),
        ("a@example.com\r\nBcc: b@example.com", "to must not contain line breaks or control characters"),
        ("Ada\u2028 <a@example.com>", "to must not contain line breaks"),
        ("grüße@example.com", "is not a mail address"),
        (f"{'a' * 1000}@example.com", "to has 1012 characters; at most 998 are allowed"),
    ],
)
def test_what_is_not_one_address_is_refused(value: str, message: str) -> None:
    with pytest.raises(InvalidMessage, match=message):
        parse_addresses(value, field="to")


@pytest.mark.parametrize("char", ["\r", "\n", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x7f"])
def test_a_header_takes_nothing_that_may_end_its_line(char: str) -> None:
    with pytest.raises(InvalidMessage, match="subject must not contain line breaks or control characters"):
        header_text(f"Invoice{char}Bcc: b@example.com", field="subject")


@given(st.text(max_size=60))
def test_no_text_gets_a_line_break_through(text: str) -> None:
    try:
        parsed = parse_addresses(text, field="to")
    except InvalidMessage:
        return
    assert all(len(address.splitlines()) == 1 for address in parsed)
    assert len(parsed) <= 1
