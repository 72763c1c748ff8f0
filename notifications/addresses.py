"""Mail addresses and header texts: what could become a second header or a second recipient is refused."""

import re
import unicodedata
from collections.abc import Sequence
from email.utils import formataddr

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.encoding import punycode

from notifications.errors import InvalidMessage

# RFC 5322 section 2.1.1; mail programs show far less.
LONGEST_HEADER = 998
_SHOWN = 100
_ADDRESS = re.compile(r'"?(?P<name>[^<>"]*)"?\s*<(?P<named>[^<>\s]+)>|(?P<plain>[^<>\s]+)')
# Controls, and what Python's own header folding takes for the end of a line.
_LINE_BREAKERS = frozenset({"Cc", "Zl", "Zp"})


def parse_addresses(value: str | Sequence[str], *, field: str) -> tuple[str, ...]:
    """Return the addresses of one text or of a list, as `a@example.com` or `Ada <a@example.com>`; blanks are left out.

    One text is one address: a comma in a value that came from outside must not add a recipient.

    Raises: InvalidMessage naming `field`.
    """
    texts = [value] if isinstance(value, str) else value
    return tuple(_checked(text, field) for text in texts if text.strip())


def header_text(value: str, *, field: str) -> str:
    """Return the text of a header, stripped. Raises InvalidMessage for line breaks, controls and excess length."""
    if any(unicodedata.category(char) in _LINE_BREAKERS for char in value):
        raise InvalidMessage(f"{field} must not contain line breaks or control characters")
    if len(value) > LONGEST_HEADER:
        raise InvalidMessage(f"{field} has {len(value)} characters; at most {LONGEST_HEADER} are allowed")
    return value.strip()


def _checked(value: str, field: str) -> str:
    text = header_text(value, field=field)
    match = _ADDRESS.fullmatch(text)
    address = (match["named"] or match["plain"]) if match else ""
    local, _, domain = address.rpartition("@")
    try:
        address = f"{local}@{punycode(domain)}"
        validate_email(address)
    except (UnicodeError, ValidationError) as error:
        hint = "; give a list for several addresses" if "," in text else ""
        raise InvalidMessage(f"{field}: {text[:_SHOWN]!r} is not a mail address{hint}") from error
    if not local.isascii():
        raise InvalidMessage(f"{field}: {text[:_SHOWN]!r} has characters before the @ that mail servers do not take")
    return formataddr(((match["name"] or "").strip() if match else "", address))
