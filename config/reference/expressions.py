"""The page on expressions and conditions: names, filters, tests, functions, operators, each with its result."""

import json
from collections.abc import Mapping
from typing import Any

from config.reference import examples
from config.reference.markdown import code, page, table
from core.expressions import Scope, evaluate_condition, operators, resolve
from core.expressions.filters import CONCAT, FILTERS, FUNCTIONS, TESTS
from core.expressions.grammar import LONGEST_CONDITION
from core.expressions.paths import ROOTS
from core.expressions.sandbox import LONGEST_SOURCE
from core.expressions.values import MAX_OUTPUT_CHARS

# Named in the language, served with a later part of the product.
NOT_SERVED = frozenset({"secrets"})


class Incomplete(Exception):
    """Something of the language has no entry in `config/reference/examples.py`, or an entry is of nothing."""


def expressions_page() -> str:
    """Return the page. Raises Incomplete."""
    _complete("names", set(ROOTS) - NOT_SERVED, examples.NAMES)
    _complete("filters", set(FILTERS) - {CONCAT}, examples.FILTERS)
    return page(
        "Expressions and conditions",
        "Texts in a step's `config` may hold `{{ … }}`, resolved just before the step runs. A text that is exactly one "
        "expression keeps the value's JSON type; inside text an object becomes JSON and null becomes nothing. A name "
        "that does not exist gives null and a warning on the step, or with `strict_expressions` fails it. Nothing here "
        "is Python: only what this page lists exists.",
        "## Names",
        table(("name", "what it is"), ([code(name), text] for name, text in examples.NAMES.items())),
        "## Paths and expressions",
        "A plain dotted path reads keys, and numbers as list positions. Anything else has Jinja2's syntax for "
        "expressions, without statements (`{% %}`). The examples on this page see:",
        f"```json\n{json.dumps(examples.SCOPE, indent=1, ensure_ascii=False)}\n```",
        table(("text", "value"), ([code(text), code(_json(_value(text)))] for text in examples.PATHS)),
        "## Filters",
        table(("filter", "example", "value"), _filter_rows()),
        "## Tests and functions",
        f"After `is`: {_names(TESTS)}.",
        f"Functions: {_names(FUNCTIONS)}.",
        "## Conditions",
        "Conditions of `conditional` and `when`, as text or as an object. Numbers compare as numbers even where one "
        "side is numeric text.",
        table(("condition", "result"), ([code(one), code(_holds(one))] for one in examples.CONDITIONS)),
        table(("operator", "also written"), _operator_rows()),
        "In text they are joined by `and`, `or`, `not` and parentheses; literals are numbers, quoted texts, `true`, "
        "`false`, `null` and lists. An operand alone is true unless it is empty, 0, false or null.",
        "## Bounds",
        table(
            ("what", "at most"),
            [
                ["characters of one expression", str(LONGEST_SOURCE)],
                ["characters of one condition", str(LONGEST_CONDITION)],
                ["characters of a text after it is filled in", str(MAX_OUTPUT_CHARS)],
            ],
        ),
    )


def _complete(what: str, known: set[str], described: Mapping[str, Any]) -> None:
    if different := known ^ set(described):
        raise Incomplete(f"{what} in the code and in config/reference/examples.py differ: {sorted(different)}")


def _filter_rows() -> list[list[str]]:
    rows = []
    for name, expression in sorted(examples.FILTERS.items()):
        value = _value(f"{{{{ {expression} }}}}")
        rows.append([code(name), code(expression), code(_json(value))])
    return rows


def _operator_rows() -> list[list[str]]:
    others: dict[str, list[str]] = {}
    for alias in sorted(operators.OPERATOR_NAMES):
        name = operators.canonical_operator(alias)
        others.setdefault(name, [])
        if alias != name:
            others[name].append(alias)
    return [[code(name), _names(aliases)] for name, aliases in sorted(others.items())]


def _value(text: str) -> Any:
    return resolve(text, Scope(examples.SCOPE)).value


def _holds(condition: Any) -> bool:
    return evaluate_condition(condition, Scope(examples.SCOPE), strict=False)


def _names(names: Any) -> str:
    return ", ".join(code(name) for name in names)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
