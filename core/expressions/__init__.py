"""Expressions of step configs, conditions, rules and notifications (ENGINE.md section 4, contract 13.1 and 13.4)."""

from core.expressions.conditions import check_condition, condition_references, evaluate_condition
from core.expressions.errors import ExpressionError, ExpressionProblem
from core.expressions.operators import canonical_operator, compare
from core.expressions.paths import Scope, parse_data_path, read
from core.expressions.templates import Reference, Resolved, check, references, resolve
from core.expressions.values import MISSING, JsonValue, number_of, sort_key, text_of

__all__ = [
    "MISSING",
    "ExpressionError",
    "ExpressionProblem",
    "JsonValue",
    "Reference",
    "Resolved",
    "Scope",
    "canonical_operator",
    "check",
    "check_condition",
    "compare",
    "condition_references",
    "evaluate_condition",
    "number_of",
    "parse_data_path",
    "read",
    "references",
    "resolve",
    "sort_key",
    "text_of",
]
