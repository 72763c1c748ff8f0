"""What /openapi.json says of errors: one body for all, on every operation (contract section 3)."""

from typing import Any

_TEXT = {"type": "string"}
PROBLEM = {
    "type": "object",
    "description": "One thing wrong with a request.",
    "properties": {
        "loc": {"type": "array", "items": {"oneOf": [_TEXT, {"type": "integer"}]}, "example": ["body", "name"]},
        "msg": _TEXT,
        "type": _TEXT,
    },
    "required": ["loc", "msg", "type"],
}
ERROR = {
    "type": "object",
    "properties": {
        "detail": {"description": "A sentence; at 422 the list of problems, at /health/detailed the components."},
        "timestamp": {"type": "string", "format": "date-time"},
        "path": _TEXT,
        "error_code": {**_TEXT, "description": "Stable, for programs.", "example": "WORKFLOW_NOT_FOUND"},
        "error": {**_TEXT, "description": "The class of the status.", "example": "not_found"},
        "message": _TEXT,
        "request_id": _TEXT,
        "errors": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Problem"},
            "description": "With a 400 for data that is wrong.",
        },
    },
    "required": ["detail", "timestamp", "path", "error_code", "error", "message", "request_id"],
}
_ANSWER = {
    "description": "Any error, told apart by its status and `error_code`.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def add_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Give every operation the error body as its default answer (settings: POSTPROCESSING_HOOKS)."""
    result["components"]["schemas"] |= {"Error": ERROR, "Problem": PROBLEM}
    result["components"]["responses"] = {"Error": _ANSWER}
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"]["default"] = {"$ref": "#/components/responses/Error"}
    return result
