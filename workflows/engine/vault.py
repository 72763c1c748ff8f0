"""The root `secrets` of expressions, and with it what must not be stored or shown of an execution (ENGINE 4 and 8)."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache

from accounts import secret_services
from accounts.secret_services import Values
from core.expressions import ExpressionError
from core.masking import Needles, needles_of
from workflows.engine import program

_NAME = "secrets"


class Vault(Mapping[str, str]):
    """The secrets of one owner by name, read when the first is asked for, in one statement.

    Where a definition names `secrets`, all values of its owner are masked, former ones too, whether this slice
    has used them or another: an output looks the same whoever stores it. Elsewhere nothing is read.
    """

    def __init__(self, owner_id: int, *, is_named: bool, others: tuple[str, ...] = ()) -> None:
        self.owner_id = owner_id
        self._is_named = is_named
        self._others = others
        self._values: Values | None = None

    def __getitem__(self, name: str) -> str:
        value = self._read().current[name]
        if value is None:
            message = f"secret '{name}' cannot be read: FIELD_ENCRYPTION_KEYS lacks the key it was encrypted with"
            raise ExpressionError(message, code="secret_unreadable")
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._read().current)

    def __len__(self) -> int:
        return len(self._read().current)

    def needles(self) -> Needles:
        """Return what to mask; reads the secrets first where the definition names them."""
        if self._is_named:
            self._read()
        return self.loaded()

    def loaded(self) -> Needles:
        """Return what to mask as far as it was read."""
        if self._values is None:
            return _needles_of(self._others)
        current = (value for value in self._values.current.values() if value is not None)
        return _needles_of((*self._others, *current, *self._values.retired))

    def _read(self) -> Values:
        if self._values is None:
            self._values = secret_services.values_of(self.owner_id)
        return self._values


_needles_of = lru_cache(maxsize=64)(needles_of)


@lru_cache(maxsize=512)
def names_secrets(version_id: int) -> bool:
    """Tell whether a definition uses secrets anywhere; versions never change."""
    compiled = program.of_version(version_id)
    steps = [node.step for node in compiled.nodes]
    # Not orjson: jsonb holds numbers of any size, and gives back 1e30 as an integer.
    return _NAME in json.dumps([steps, compiled.variables, compiled.settings])
