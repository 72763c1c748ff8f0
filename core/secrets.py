"""Derived keys, encryption at rest and comparison of secrets. Imports no Django: settings use it."""

import base64
import hmac
from collections.abc import Sequence

from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derive_key(root_secret: str, *, label: str) -> str:
    """Derive an independent 32-byte key for `label` from the root secret, as URL-safe base64 text.

    Source: RFC 5869 (HKDF); the label separates uses, so that one leaked key opens nothing else.
    """
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=label.encode()).derive(root_secret.encode())
    return base64.urlsafe_b64encode(derived).decode()


def encrypt(plaintext: str, *, keys: Sequence[str]) -> str:
    """Encrypt text with the first of `keys` (Fernet keys; the newest stands first)."""
    return MultiFernet([Fernet(key) for key in keys]).encrypt(plaintext.encode()).decode()


def decrypt(ciphertext: str, *, keys: Sequence[str]) -> str:
    """Decrypt text that was encrypted with any of `keys`. Raises: cryptography's InvalidToken."""
    return MultiFernet([Fernet(key) for key in keys]).decrypt(ciphertext.encode()).decode()


def renew(ciphertext: str, *, keys: Sequence[str]) -> str:
    """Encrypt anew with the first of `keys` what any of them opens. Raises: cryptography's InvalidToken."""
    return MultiFernet([Fernet(key) for key in keys]).rotate(ciphertext.encode()).decode()


def equals_any(candidate: str, known: Sequence[str]) -> bool:
    """Compare `candidate` with every known secret in constant time, over UTF-8 bytes."""
    matches = [hmac.compare_digest(candidate.encode(), secret.encode()) for secret in known]
    return any(matches)
