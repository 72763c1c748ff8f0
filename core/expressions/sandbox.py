"""Expressions beyond a dotted path: Jinja2's expression syntax in an immutable sandbox, with bounds.

Three walls, each enough for the known escapes: the syntax tree holds only listed kinds of nodes, and calls only of
listed functions; attributes never reach Python objects, only keys, indexes and a few fields of times; operators and
filters refuse what grows without limit. Source: ENGINE.md section 4.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import TemplateError, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.environment import TemplateExpression
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from core.expressions.errors import ExpressionError
from core.expressions.filters import CONCAT, FILTERS, FUNCTIONS, TESTS, too_large
from core.expressions.paths import Scope, Segments, describe_missing, member
from core.expressions.values import MAX_OUTPUT_CHARS, MISSING, nearest, time_text

LONGEST_SOURCE = 2000
_DEEPEST_TREE = 60
DEEPEST_BRACKETS = 20
_LARGEST_INTEGER_BITS = 1024
_LARGEST_EXPONENT = 1024
# What an item of a list or object counts towards the bound of a result.
_ITEM_SIZE = 8
_PLACE = re.compile(r" at \d+$")

_NODES = (
    nodes.Const,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.List,
    nodes.Tuple,
    nodes.Dict,
    nodes.Pair,
    nodes.Keyword,
    nodes.Filter,
    nodes.Test,
    nodes.Call,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.Concat,
    nodes.BinExpr,
    nodes.UnaryExpr,
)
_FAILURES = (
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
    TemplateError,
)


class Outcome(NamedTuple):
    """What an expression gave: None with a sentence in `missing` if a name does not exist."""

    value: Any
    missing: str | None = None
    unknown_root: bool = False


class Missing(Undefined):
    """A name that does not exist: false, equal to null, and an error to do anything else with."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Undefined)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(None)

    def __str__(self) -> str:
        raise self.refusal()

    def __len__(self) -> int:
        raise self.refusal()

    def __iter__(self) -> Iterator[Any]:
        raise self.refusal()

    def __contains__(self, item: object) -> bool:
        raise self.refusal()

    def refusal(self) -> Exception:
        return self._undefined_exception(self._undefined_message)


class _Refused(Exception):
    """A construct outside the language, at a line of the source."""

    def __init__(self, message: str, line: int, code: str = "not_allowed") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.code = code


class ExpressionEnvironment(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, narrowed to expressions over JSON values."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=Missing, optimized=False, autoescape=False, cache_size=0)
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)
        self.globals = dict(FUNCTIONS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Read a key or an index; never an attribute of a Python object (times have a few)."""
        if isinstance(obj, Undefined):
            return obj
        if isinstance(argument, int) and isinstance(obj, list | tuple | str):
            return obj[argument] if -len(obj) <= argument < len(obj) else self._missing(obj, str(argument))
        found = member(obj, str(argument)) if isinstance(argument, str | int) else MISSING
        return self._missing(obj, str(argument)) if found is MISSING else found

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for operand in (left, right):
            if isinstance(operand, Missing):
                raise operand.refusal()
        if operator == "+" and ((isinstance(left, str) and isinstance(right, str)) or _are_lists(left, right)):
            _check_size(len(left) + len(right))
            return left + right
        if operator == "*" and isinstance(left, str) and isinstance(right, int):
            _check_size(len(left) * max(0, right))
            return left * right
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            kinds = f"{type(left).__name__} and {type(right).__name__}"
            raise TypeError(f"{operator} needs two numbers, not {kinds}; ~ joins text")
        if operator == "**":
            _check_power(left, right)
        result = self.binop_table[operator](left, right)
        if isinstance(result, int) and result.bit_length() > _LARGEST_INTEGER_BITS:
            raise too_large("the number")
        return result

    def _missing(self, obj: Any, name: str) -> Undefined:
        return self.undefined(hint=describe_missing(obj, name, where=""), obj=obj, name=name)


class Code:
    """A compiled expression. `references` are the dotted names in it, as segments."""

    __slots__ = ("_expression", "_names", "references", "source")

    def __init__(self, source: str, tree: nodes.Expr) -> None:
        self.source = source
        self.references = tuple(dict.fromkeys(_references(tree)))
        self._names = tuple(dict.fromkeys(segments[0] for segments in self.references))
        tree = _Rewrite().visit(tree)
        tree.set_environment(_environment)
        body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store"), tree, lineno=1)]
        # As Environment.compile_expression does, after our checks and rewriting of the tree.
        self._expression = TemplateExpression(_environment.from_string(nodes.Template(body, lineno=1)), False)

    def evaluate(self, scope: Scope) -> Outcome:
        """Compute the value: JSON, at most 1 MiB. Raises ExpressionError (`evaluation_failed`, `too_large`)."""
        names = {name: scope.find((name,)) for name in self._names}
        context = {name: _undefined(scope, name) if found is MISSING else found for name, found in names.items()}
        try:
            return Outcome(_finished(self._expression(context)))
        except UndefinedError as error:
            unknown = any(found is MISSING and not scope.knows(name) for name, found in names.items())
            return Outcome(None, f"{self.source}: {error.message}", unknown)
        except _FAILURES as error:
            raise ExpressionError(f"{self.source}: {_sentence(error)}", code="evaluation_failed") from error


@lru_cache(maxsize=2048)
def compile_code(source: str) -> Code:
    """Compile an expression. Raises ExpressionError (`bad_expression`, `not_allowed`, `too_large`) with its column."""
    if len(source) > LONGEST_SOURCE:
        raise ExpressionError(f"an expression has at most {LONGEST_SOURCE} characters", code="too_large", column=1)
    _check_brackets(source)
    try:
        return Code(source, _parse(source))
    except (_Refused, TemplateSyntaxError) as error:
        raise _with_column(source, error) from error
    except (RecursionError, MemoryError, SyntaxError, UnicodeError) as error:
        raise ExpressionError("the expression is too complex", code="too_large", column=1) from error


def _parse(source: str) -> nodes.Expr:
    parser = Parser(_environment, source, state="variable")
    tree = parser.parse_expression()
    if not parser.stream.eos:
        token = parser.stream.current
        raise TemplateSyntaxError(f"unexpected {token.value!r}", token.lineno)
    _check_tree(tree)
    return tree


def _check_brackets(source: str) -> None:
    depth = 0
    for position, char in enumerate(source):
        depth += (char in "([{") - (char in ")]}")
        if depth > DEEPEST_BRACKETS:
            raise ExpressionError("brackets are nested too deep", code="too_large", column=position + 1)


def _check_tree(tree: nodes.Expr) -> None:
    """Refuse every node that is not listed, without recursion."""
    waiting: list[tuple[nodes.Node, int]] = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > _DEEPEST_TREE:
            raise _Refused("the expression is nested too deep", node.lineno, "too_large")
        _check_node(node)
        skipped = node.node if isinstance(node, nodes.Call) else None
        waiting += [(child, depth + 1) for child in node.iter_child_nodes() if child is not skipped]


def _check_node(node: nodes.Node) -> None:
    if not isinstance(node, _NODES):
        raise _Refused(f"{type(node).__name__} is not part of expressions", node.lineno)
    if isinstance(node, nodes.Call):
        _check_listed("function", node.node.name if isinstance(node.node, nodes.Name) else None, FUNCTIONS, node.lineno)
    elif isinstance(node, nodes.Name) and node.name in FUNCTIONS:
        raise _Refused(f"{node.name} is a function: call it, or write where it is, as trigger.{node.name}", node.lineno)
    elif isinstance(node, nodes.Filter):
        _check_listed("filter", node.name, FILTERS, node.lineno)
        if node.name == "map":
            _check_first_argument("filter", node, 0, FILTERS)
        elif node.name in {"selectattr", "rejectattr"}:
            _check_first_argument("test", node, 1, TESTS)
    elif isinstance(node, nodes.Test):
        _check_listed("test", node.name, TESTS, node.lineno)
    if isinstance(node, nodes.Call | nodes.Filter | nodes.Test) and (node.dyn_args or node.dyn_kwargs):
        raise _Refused("* and ** arguments are not allowed", node.lineno)


def _check_listed(kind: str, name: str | None, known: Mapping[str, Any], line: int) -> None:
    if name is None:
        raise _Refused(f"only listed functions can be called: {', '.join(FUNCTIONS)}", line)
    if name not in known:
        near = nearest(name, known)
        raise _Refused(f"there is no {kind} {name!r}" + (f"; did you mean {near!r}?" if near else ""), line)


def _check_first_argument(kind: str, node: nodes.Filter, position: int, known: Mapping[str, Any]) -> None:
    if len(node.args) <= position:
        return
    argument = node.args[position]
    if not isinstance(argument, nodes.Const) or not isinstance(argument.value, str):
        raise _Refused(f"{node.name} takes the name of a {kind} in quotes", node.lineno)
    _check_listed(kind, argument.value, known, argument.lineno)


class _Rewrite(NodeTransformer):
    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, CONCAT, [], [], None, None, lineno=node.lineno)

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802
        return nodes.Const(None, lineno=node.lineno) if node.name == "null" else node


def _references(node: nodes.Node) -> Iterator[Segments]:
    if segments := _chain(node):
        yield segments
        return
    if isinstance(node, nodes.Name) and node.name == "null":
        return
    skipped = node.node if isinstance(node, nodes.Call) else None
    for child in node.iter_child_nodes():
        if child is not skipped:
            yield from _references(child)


def _chain(node: nodes.Node) -> Segments | None:
    """Return `a.b[0]["c"]` as segments; None for anything else."""
    if isinstance(node, nodes.Name):
        return None if node.name == "null" else (node.name,)
    if isinstance(node, nodes.Getattr):
        before, last = _chain(node.node), node.attr
    elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        before, last = _chain(node.node), str(node.arg.value)
    else:
        return None
    return (*before, last) if before else None


def _with_column(source: str, error: _Refused | TemplateSyntaxError) -> ExpressionError:
    """Find the column, which Jinja2 does not know: parse once more with each token on a line of its own."""
    code = error.code if isinstance(error, _Refused) else "bad_expression"
    message = _PLACE.sub("", error.message or "cannot be read").replace("'end of template'", "end of the expression")
    return ExpressionError(message, code=code, column=_column(source))


def _column(source: str) -> int:
    opening = "{{ "
    position = -len(opening)
    columns: list[int] = []
    tokens: list[str] = []
    try:
        for _line, kind, text in _environment.lex(opening + source):
            if kind not in {"whitespace", "variable_begin"}:
                columns += [position + 1] * (text.count("\n") + 1)
                tokens.append(text)
            position += len(text)
    except TemplateSyntaxError:
        return max(0, position) + 1
    try:
        _parse("\n".join(tokens))
    except (_Refused, TemplateSyntaxError) as error:
        line = error.line if isinstance(error, _Refused) else error.lineno
        return columns[line - 1] if 0 < line <= len(columns) else 1
    return 1


def _undefined(scope: Scope, name: str) -> Undefined:
    return _environment.undefined(hint=scope.explain((name,)), name=name)


def _are_lists(left: object, right: object) -> bool:
    return isinstance(left, list) and isinstance(right, list)


def _check_size(size: int) -> None:
    if size > MAX_OUTPUT_CHARS:
        raise too_large("the result")


def _check_power(base: float, exponent: float) -> None:
    # Before computing: 9**9**9 would not come back.
    if abs(exponent) > _LARGEST_EXPONENT:
        raise too_large("the number")
    if isinstance(base, int) and base.bit_length() * abs(exponent) > _LARGEST_INTEGER_BITS:
        raise too_large("the number")
    if base < 0 and isinstance(exponent, float):
        raise ValueError("a negative number has no such power")


def _finished(value: Any) -> Any:
    """Return a result as JSON, counting its size on the way."""
    left = [MAX_OUTPUT_CHARS]
    return _json(value, left)


def _json(value: Any, left: list[int]) -> Any:
    left[0] -= len(value) if isinstance(value, str) else _ITEM_SIZE
    if left[0] < 0:
        raise too_large("the result")
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Missing):
        raise value.refusal()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("the result is not a finite number")
        return value
    if isinstance(value, Mapping):
        return {_json(str(key), left): _json(item, left) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, left) for item in value]
    if isinstance(value, datetime | date):
        return time_text(value)
    raise TypeError(f"a {type(value).__name__} is not a value")


def _sentence(error: BaseException) -> str:
    if isinstance(error, RecursionError | MemoryError):
        return "too complex"
    return str(error) or type(error).__name__


_environment = ExpressionEnvironment()
