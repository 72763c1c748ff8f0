"""Strings that hold `{{ … }}`: reading them, filling them in, and checking them before they run (contract 13.1)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from core.expressions.errors import ExpressionError, ExpressionProblem
from core.expressions.paths import Scope, Segments, parse_path
from core.expressions.sandbox import DEEPEST_BRACKETS, LONGEST_SOURCE, Code, compile_code
from core.expressions.values import MAX_OUTPUT_CHARS, MISSING, plain, text_of

OPEN, CLOSE = "{{", "}}"
_LONGEST_CACHED = 8 * 1024
_MOST_WARNINGS = 100
_PAIRS = {")": "(", "]": "[", "}": "{"}


class Resolved(NamedTuple):
    """A value with its expressions filled in, and a sentence for each name that does not exist."""

    value: Any
    warnings: list[str]


class Reference(NamedTuple):
    """A dotted path used in an expression; `root` is its first name."""

    root: str
    path: str


@dataclass(slots=True)
class Run:
    """One evaluation: what it sees, how strict it is, and the warnings it collects."""

    scope: Scope
    strict: bool = False
    warnings: list[str] = field(default_factory=list)

    def warn(self, sentence: str) -> None:
        """Note a missing name, once. Raises ExpressionError `unknown_name` if strict."""
        if self.strict:
            raise ExpressionError(sentence, code="unknown_name")
        if len(self.warnings) < _MOST_WARNINGS and sentence not in self.warnings:
            self.warnings.append(sentence)


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One `{{ … }}` of a string: a dotted path, a compiled expression, or the reason why it is neither.

    `column` counts from 1 and is that of the expression's first character.
    """

    written: str
    column: int
    path: Segments | None = None
    code: Code | None = None
    error: ExpressionError | None = None

    def value(self, run: Run) -> Any:
        """Return the value with its JSON type; null for an unknown name."""
        value, _ = self._find(run)
        return value if self.error is None else self.written

    def text(self, run: Run) -> str:
        """Return the value as text; an unknown name of an unknown root stays as written."""
        value, unknown_root = self._find(run)
        return self.written if unknown_root else text_of(value)

    def references(self) -> tuple[Segments, ...]:
        if self.path:
            return (self.path,)
        return self.code.references if self.code else ()

    def _find(self, run: Run) -> tuple[Any, bool]:
        """Return the value, and whether its root is unknown."""
        if self.path is not None:
            value = run.scope.find(self.path)
            if value is not MISSING:
                return plain(value), False
            run.warn(run.scope.explain(self.path))
            return None, not run.scope.knows(self.path[0])
        if self.code is None:
            return self._unreadable(run)
        outcome = self.code.evaluate(run.scope)
        if outcome.missing:
            run.warn(outcome.missing)
        return outcome.value, outcome.unknown_root

    def _unreadable(self, run: Run) -> tuple[Any, bool]:
        # Other template languages use the same braces: what is no expression stays as written, as an unknown root does.
        error = self.error or ExpressionError("empty", code="bad_expression", column=self.column)
        if run.strict or error.code != "bad_expression":
            raise error
        run.warn(f"{self.written}: {error}")
        return None, True


class Template:
    """A parsed string: literal text and placeholders in turn."""

    __slots__ = ("exact", "parts", "unclosed")

    def __init__(self, parts: tuple[str | Placeholder, ...], unclosed: int | None) -> None:
        self.parts = parts
        self.unclosed = unclosed
        self.exact = parts[0] if len(parts) == 1 and isinstance(parts[0], Placeholder) else None

    def resolve(self, run: Run) -> Any:
        """Return the value of a string that is one expression, else the text."""
        return self.exact.value(run) if self.exact is not None else self.text(run)

    def text(self, run: Run) -> str:
        """Return the text. Raises ExpressionError `too_large` over 1 MiB."""
        texts = [part if isinstance(part, str) else part.text(run) for part in self.parts]
        if sum(map(len, texts)) > MAX_OUTPUT_CHARS:
            raise ExpressionError(f"the text is over {MAX_OUTPUT_CHARS} characters", code="too_large")
        return "".join(texts)

    def placeholders(self) -> Iterator[Placeholder]:
        return (part for part in self.parts if isinstance(part, Placeholder))


def resolve(value: Any, scope: Scope, *, strict: bool = False) -> Resolved:
    """Fill in every string of a JSON value, at any depth; keys of objects stay as they are.

    A string that is exactly one expression gives the value with its type (shared with the scope, not copied), else
    values become text. An unknown name gives null, inside text nothing, or stays as written if its root is unknown;
    each with a warning. Raises ExpressionError: `unknown_name` if strict; `not_allowed`, `evaluation_failed`,
    `too_large`; `bad_expression` only if strict, else such text stays as written.
    """
    run = Run(scope, strict)
    try:
        return Resolved(resolve_within(value, run), run.warnings)
    except RecursionError as error:
        raise ExpressionError("the value is nested too deep", code="too_large") from error


def resolve_within(value: Any, run: Run) -> Any:
    """Fill in a value as part of a larger evaluation."""
    kind = type(value)
    if kind is str:
        return parse(value).resolve(run) if OPEN in value else value
    if kind is dict:
        return {key: resolve_within(item, run) for key, item in value.items()}
    if kind is list:
        return [resolve_within(item, run) for item in value]
    return value


def check(value: Any) -> list[ExpressionProblem]:
    """Return everything that is wrong with the expressions of a value, without running any."""
    return [problem for path, text in _strings(value) for problem in _problems(path, text)]


def references(value: Any) -> list[Reference]:
    """Return the dotted paths that the expressions of a value use, each once, in order."""
    found = (
        segments
        for _path, text in _strings(value)
        for placeholder in parse(text).placeholders()
        for segments in placeholder.references()
    )
    return to_references(found)


def to_references(paths: Iterator[Segments]) -> list[Reference]:
    return [Reference(segments[0], ".".join(segments)) for segments in dict.fromkeys(paths)]


def parse(text: str) -> Template:
    """Return the parsed form of a string, from the cache if it is not too long to keep."""
    return _parse_cached(text) if len(text) <= _LONGEST_CACHED else _parse(text)


def end_of_expression(text: str, start: int) -> int:
    """Return where the expression that begins at `start` (behind its `{{`) ends: the place of its `}}`, or -1.

    Braces inside quotes and nested brackets belong to the expression.
    """
    open_brackets: list[str] = []
    position = start
    # The window keeps a hostile text from being read to its end once for each of its braces.
    window = min(len(text), start + 2 * LONGEST_SOURCE)
    while position < window and len(open_brackets) <= DEEPEST_BRACKETS:
        char = text[position]
        if char in "\"'":
            position = _end_of_quotes(text, position)
        elif char in "([{":
            open_brackets.append(char)
        elif not open_brackets and text.startswith(CLOSE, position):
            return position
        elif char in _PAIRS and (not open_brackets or open_brackets.pop() != _PAIRS[char]):
            break
        position += 1
    # Something is wrong inside; the nearest closing braces end it, and its text says what.
    return text.find(CLOSE, start)


def _end_of_quotes(text: str, start: int) -> int:
    position = start + 1
    while position < len(text) and text[position] != text[start]:
        position += 2 if text[position] == "\\" else 1
    return position


@lru_cache(maxsize=2048)
def _parse_cached(text: str) -> Template:
    return _parse(text)


def _parse(text: str) -> Template:
    parts: list[str | Placeholder] = []
    done = 0
    unclosed = None
    while (start := text.find(OPEN, done)) != -1:
        end = end_of_expression(text, start + len(OPEN))
        if end == -1:
            unclosed = start + 1
            break
        if start > done:
            parts.append(text[done:start])
        done = end + len(CLOSE)
        parts.append(_placeholder(text[start:done], start + 1))
    if done < len(text) or not parts:
        parts.append(text[done:])
    return Template(tuple(parts), unclosed)


def _placeholder(written: str, column: int) -> Placeholder:
    inside = written[len(OPEN) : -len(CLOSE)]
    source = inside.strip()
    column += len(OPEN) + len(inside) - len(inside.lstrip())
    if len(source) <= LONGEST_SOURCE and (path := parse_path(source)) is not None:
        return Placeholder(written, column, path=path)
    try:
        return Placeholder(written, column, code=compile_code(source))
    except ExpressionError as error:
        placed = ExpressionError(error.detail, code=error.code, column=column + (error.column or 1) - 1)
        return Placeholder(written, column, error=placed)


def _problems(path: tuple[str | int, ...], text: str) -> Iterator[ExpressionProblem]:
    template = parse(text)
    for placeholder in template.placeholders():
        if (error := placeholder.error) is not None:
            yield ExpressionProblem(path, error.column or placeholder.column, error.detail, error.code)
    if template.unclosed is not None:
        yield ExpressionProblem(path, template.unclosed, "{{ has no closing }}", "bad_expression")
    column = 1
    for part in template.parts:
        if isinstance(part, str) and (place := part.find("{%")) != -1:
            yield ExpressionProblem(path, column + place, "{% %} is not part of expressions", "not_allowed")
        column += len(part if isinstance(part, str) else part.written)


def _strings(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the strings of a value with the way to them, deepest nesting included, without recursion."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [(path, value)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, str):
            if "{" in item:
                yield path, item
        elif isinstance(item, dict):
            waiting += [((*path, key), inner) for key, inner in reversed(item.items())]
        elif isinstance(item, list):
            waiting += [((*path, index), item[index]) for index in reversed(range(len(item)))]
