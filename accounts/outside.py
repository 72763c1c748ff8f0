"""Keys that an outside auth service vouches for (contract section 2: AUTH_SERVICE_URL)."""

import time
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlencode, urlsplit

from django.conf import settings

from accounts import selectors, services
from accounts.choices import Scope
from accounts.principal import Principal
from core import egress, logs

log = logs.get(__name__)

TIMEOUT_SECONDS = 5.0
ANSWER_KEPT_SECONDS = 60.0
# An unreachable service counts as "invalid". It is asked nothing for a while: with a question for every unknown key,
# whoever tries keys would keep all threads of the web process waiting.
PAUSE_AFTER_FAILURE_SECONDS = 5.0
MOST_ANSWERS = 4096
MOST_BYTES = 64 * 1024
OK = 200
FORM = "application/x-www-form-urlencoded"

_answers: dict[str, tuple[bool, float]] = {}
_lock = Lock()


@dataclass
class _Silence:
    """Until when the service is not asked, by the monotonic clock (s)."""

    until: float = 0.0


_silence = _Silence()


def find_principal(plaintext: str) -> Principal | None:
    """Return the service owner's principal if the auth service calls the key valid; unreachable is invalid."""
    if not settings.AUTH_SERVICE_URL or len(plaintext) > selectors.LONGEST_KEY or not _vouched_for(plaintext):
        return None
    return Principal(
        owner=services.service_owner(),
        scopes=frozenset({Scope.READ, Scope.WRITE, Scope.EXECUTE}),
        sees_all=False,
        actor="auth-service",
        limited_as=services.hash_key(plaintext),
    )


def forget_answers() -> None:
    """Ask the auth service anew for every key."""
    with _lock:
        _answers.clear()
    _silence.until = 0.0


def _vouched_for(plaintext: str) -> bool:
    digest = services.hash_key(plaintext)
    known = _answers.get(digest)
    if known and known[1] > time.monotonic():
        return known[0]
    if time.monotonic() < _silence.until:
        return False
    try:
        valid = _ask(plaintext)
    except egress.EgressError as error:
        log.warning("auth_service.unreachable", error=str(error))
        # What one odd key caused must not keep out the others.
        if error.retryable:
            _silence.until = time.monotonic() + PAUSE_AFTER_FAILURE_SECONDS
        return False
    with _lock:
        if len(_answers) >= MOST_ANSWERS:
            _answers.clear()
        _answers[digest] = (valid, time.monotonic() + ANSWER_KEPT_SECONDS)
    return valid


def _ask(plaintext: str) -> bool:
    """Ask by the contract's POST /validate, or by RFC 7662 when AUTH_SERVICE_MODE=introspection."""
    url = settings.AUTH_SERVICE_URL.rstrip("/")
    introspects = settings.AUTH_SERVICE_MODE == "introspection"
    response = egress.request(
        "POST",
        url if introspects else f"{url}/validate",
        headers={"Content-Type": FORM} if introspects else {"X-API-Key": plaintext},
        content=urlencode({"token": plaintext}).encode() if introspects else None,
        timeout_seconds=TIMEOUT_SECONDS,
        max_body_bytes=MOST_BYTES,
        allow=[_host_and_port(url)],
    )
    if response.status_code != OK:
        return False
    found = response.json() if introspects else None
    return not introspects or (isinstance(found, dict) and found.get("active") is True)


def _host_and_port(url: str) -> str:
    """Return `host:port` of the operator's own setting, which may lie in a private network."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
