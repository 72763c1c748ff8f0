"""The text form of conditions: tokens, a recursive parser and its tree (contract 13.4).

    or_test    = and_test { "or" and_test }
    and_test   = not_test { "and" not_test }
    not_test   = "not" not_test | comparison
    comparison = operand [ operator operand ]
    operand    = "(" or_test ")" | "[" [ operand { "," operand } ] "]" | number | quoted text
               | true | false | null | "{{" expression "}}" | dotted path

The text is cut into tokens before any expression gets its value, so that no value can become part of the grammar.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from core.expressions.errors import ExpressionError
from core.expressions.operators import LONE_OPERATORS, OPERATOR_NAMES, canonical_operator, compare
from core.expressions.paths import Segments, parse_path
from core.expressions.templates import CLOSE, OPEN, Placeholder, Run, Template, end_of_expression, parse
from core.expressions.values import MISSING

LONGEST_CONDITION = 10_000
_DEEPEST = 50
_LITERALS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}
_WORD = re.compile(r"[\w](?:[\w.-]*\w)?")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d{1,3})?(?![\w.-])", re.ASCII)
_SYMBOLS = re.compile(r"[=!<>&|~+*/^%?:-]+")
_ESCAPES = {"n": "\n", "t": "\t"}


class Token(NamedTuple):
    """A piece of a condition; kinds: value, template, word, symbol, bracket, end."""

    kind: str
    value: Any
    column: int


class Node:
    """A part of a condition that has a value."""

    __slots__ = ()

    def value(self, run: Run) -> Any:
        raise NotImplementedError

    def children(self) -> tuple["Node", ...]:
        return ()


@dataclass(frozen=True, slots=True)
class Literal(Node):
    constant: Any

    def value(self, run: Run) -> Any:
        return self.constant


@dataclass(frozen=True, slots=True)
class Filled(Node):
    """Text with expressions; `typed` if it stands without quotes and is one expression."""

    template: Template
    typed: bool

    def value(self, run: Run) -> Any:
        return self.template.resolve(run) if self.typed else self.template.text(run)


@dataclass(frozen=True, slots=True)
class Bare(Node):
    """A word without braces: a path, or its own text if its root is unknown (as contract 13.1 leaves it)."""

    segments: Segments | None
    written: str

    def value(self, run: Run) -> Any:
        if self.segments is None:
            return self.written
        found = run.scope.find(self.segments)
        if found is not MISSING:
            return found
        run.warn(run.scope.explain(self.segments))
        return None if run.scope.knows(self.segments[0]) else self.written


@dataclass(frozen=True, slots=True)
class Items(Node):
    items: tuple[Node, ...]

    def value(self, run: Run) -> Any:
        return [item.value(run) for item in self.items]

    def children(self) -> tuple[Node, ...]:
        return self.items


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    operator: str
    left: Node
    right: Node

    def value(self, run: Run) -> bool:
        return compare(self.operator, self.left.value(run), self.right.value(run))

    def children(self) -> tuple[Node, ...]:
        return (self.left, self.right)


@dataclass(frozen=True, slots=True)
class Not(Node):
    inner: Node

    def value(self, run: Run) -> bool:
        return not self.inner.value(run)

    def children(self) -> tuple[Node, ...]:
        return (self.inner,)


@dataclass(frozen=True, slots=True)
class Joined(Node):
    """Parts joined by `and` (`all_of`) or `or`; later parts are not looked at once the answer is known."""

    all_of: bool
    parts: tuple[Node, ...]

    def value(self, run: Run) -> bool:
        results = (bool(part.value(run)) for part in self.parts)
        return all(results) if self.all_of else any(results)

    def children(self) -> tuple[Node, ...]:
        return self.parts


@lru_cache(maxsize=2048)
def parse_condition(text: str) -> Node:
    """Return the tree of a condition. Raises ExpressionError `bad_expression`, `unknown_operator` or `too_large`."""
    if len(text) > LONGEST_CONDITION:
        raise ExpressionError(f"a condition has at most {LONGEST_CONDITION} characters", code="too_large", column=1)
    return _Parser(list(_tokens(text))).whole()


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and everything below it."""
    yield node
    for child in node.children():
        yield from walk(child)


def placeholders_of(node: Node) -> Iterator[Placeholder]:
    """Yield the `{{ … }}` of a condition."""
    for item in walk(node):
        if isinstance(item, Filled):
            yield from item.template.placeholders()


# --- Tokens ----------------------------------------------------------------------------------


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while position < len(text):
        char, column = text[position], position + 1
        if char.isspace():
            position += 1
        elif text.startswith(OPEN, position):
            end = _end_of_template(text, position)
            yield Token("template", _shifted(text[position:end], column), column)
            position = end
        elif char in "\"'":
            token, position = _quoted(text, position)
            yield token
        elif char in "()[],":
            yield Token("bracket", char, column)
            position += 1
        elif match := _NUMBER.match(text, position):
            yield Token("value", float(match[0]) if match[1] or match[2] else int(match[0]), column)
            position = match.end()
        elif match := _WORD.match(text, position):
            yield Token("word", match[0], column)
            position = match.end()
        elif match := _SYMBOLS.match(text, position):
            yield Token("symbol", match[0], column)
            position = match.end()
        else:
            raise _bad(f"unexpected {char!r}", column)
    yield Token("end", "", len(text) + 1)


def _end_of_template(text: str, start: int) -> int:
    end = end_of_expression(text, start + len(OPEN))
    if end == -1:
        raise _bad("{{ has no closing }}", start + 1)
    return end + len(CLOSE)


def _quoted(text: str, start: int) -> tuple[Token, int]:
    """Read quoted text; quotes inside its `{{ … }}` do not end it, and a backslash keeps the next character."""
    pieces: list[str] = []
    position = start + 1
    has_template = False
    while position < len(text) and text[position] != text[start]:
        if text.startswith(OPEN, position) and text.find(CLOSE, position) != -1:
            end = _end_of_template(text, position)
            pieces.append(text[position:end])
            position, has_template = end, True
        elif text[position] == "\\" and position + 1 < len(text):
            pieces.append(_ESCAPES.get(text[position + 1], text[position + 1]))
            position += 2
        else:
            pieces.append(text[position])
            position += 1
    if position >= len(text):
        raise _bad("the quotation mark is not closed", start + 1)
    content = "".join(pieces)
    value = Filled(_shifted(content, start + 2), typed=False) if has_template else content
    return Token("value", value, start + 1), position + 1


def _shifted(text: str, column: int) -> Template:
    """Parse a template that begins at `column` of the condition, refusing what is no expression."""
    template = parse(text)
    for placeholder in template.placeholders():
        if placeholder.error is not None:
            place = (placeholder.error.column or 1) + column - 1
            raise ExpressionError(placeholder.error.detail, code=placeholder.error.code, column=place)
    return template


def _bad(message: str, column: int) -> ExpressionError:
    return ExpressionError(message, code="bad_expression", column=column)


# --- Parser ----------------------------------------------------------------------------------


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._or()
        if self._now.kind != "end":
            raise self._unexpected()
        return node

    @property
    def _now(self) -> Token:
        return self._tokens[self._position]

    def _is(self, kind: str, text: str) -> bool:
        return self._now.kind == kind and self._now.value.lower() == text

    def _take(self, kind: str, text: str) -> bool:
        if taken := self._is(kind, text):
            self._position += 1
        return taken

    def _or(self) -> Node:
        parts = [self._and()]
        while self._take("word", "or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Joined(all_of=False, parts=tuple(parts))

    def _and(self) -> Node:
        parts = [self._not()]
        while self._take("word", "and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else Joined(all_of=True, parts=tuple(parts))

    def _not(self) -> Node:
        if not self._is("word", "not"):
            return self._comparison()
        self._deeper()
        self._position += 1
        node = Not(self._not())
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        left = self._operand()
        name = self._operator()
        if name is None:
            return left
        return Comparison(name, left, Literal(None) if name in LONE_OPERATORS else self._operand())

    def _operator(self) -> str | None:
        """Take an operator and return its canonical name; None where the comparison ends without one."""
        token = self._now
        if token.kind in {"bracket", "end"}:
            return None
        if token.kind not in {"word", "symbol"}:
            raise _bad("an operator is missing here", token.column)
        name = token.value.lower()
        if name in {"and", "or"}:
            return None
        self._position += 1
        if name == "not" and self._now.kind == "word":
            name = f"not {self._now.value.lower()}"
            self._position += 1
        try:
            return canonical_operator(name if name in OPERATOR_NAMES else token.value)
        except ExpressionError as error:
            raise ExpressionError(error.detail, code=error.code, column=token.column) from error

    def _operand(self) -> Node:
        token = self._now
        if self._is("bracket", "("):
            return self._grouped()
        if self._is("bracket", "["):
            return self._list()
        if token.kind == "template":
            self._position += 1
            return Filled(token.value, typed=True)
        if token.kind == "value":
            self._position += 1
            return token.value if isinstance(token.value, Node) else Literal(token.value)
        if token.kind == "word" and token.value.lower() not in {"and", "or", "not"}:
            self._position += 1
            return _word(token.value)
        raise self._unexpected()

    def _grouped(self) -> Node:
        self._deeper()
        self._position += 1
        node = self._or()
        if not self._take("bracket", ")"):
            raise _bad("a closing ) is missing here", self._now.column)
        self._depth -= 1
        return node

    def _list(self) -> Node:
        self._deeper()
        self._position += 1
        items: list[Node] = []
        while not self._take("bracket", "]"):
            if items and not self._take("bracket", ","):
                raise _bad("a closing ] is missing here", self._now.column)
            items.append(self._operand())
        self._depth -= 1
        return Items(tuple(items))

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ExpressionError("nested too deep", code="too_large", column=self._now.column)

    def _unexpected(self) -> ExpressionError:
        token = self._now
        if token.kind == "end":
            return _bad("something is missing at the end", token.column)
        if token.kind == "symbol" and token.value not in OPERATOR_NAMES:
            return ExpressionError(f"unknown operator {token.value!r}", code="unknown_operator", column=token.column)
        shown = token.value if isinstance(token.value, str | int | float) else "expression"
        return _bad(f"unexpected {shown!r}", token.column)


def _word(text: str) -> Node:
    if text.lower() in _LITERALS:
        return Literal(_LITERALS[text.lower()])
    return Bare(parse_path(text), text)
