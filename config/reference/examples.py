"""Examples for the reference pages. The pages are not written unless all of them hold."""

from typing import Any

SCOPE: dict[str, Any] = {
    "execution_id": 7,
    "workflow_id": 3,
    "trigger": {
        "file_id": 12,
        "name": " Ada ",
        "total": "1250.50",
        "tags": ["paid", "urgent", "paid"],
        "order-no": "00071001",
        "lines": [{"item": "lamp", "price": 34.5}, {"item": "chair", "price": 219.9}],
    },
    "input": {"file_id": 12},
    "variables": {"limit": 1000},
    "steps": {"read": {"word_count": 155, "content": "Invoice 2026-0117", "metadata": {"pdf_pages": 2}}},
    "env": {"API_TOKEN": "token"},
    "now": "2026-11-21T09:30:00Z",
    "workflow": {"id": 3, "execution_uuid": "01a1fcf7-56a5-78d3-ac73-f55598b0a03d"},
}

NAMES = {
    "execution_id": "the number of this execution",
    "workflow_id": "the number of its workflow",
    "trigger": "what started it: of a file `file_id`, `filename`, `file_extension`, `original_filename`, `file_size`, "
    "`mime_type`; else the `trigger_data` given",
    "input": "the same as `trigger`",
    "variables": "`variables` of the workflow; a bare name is looked up here, then in `trigger`",
    "steps": "outputs of the steps that have run, by name",
    "env": "environment variables that `WORKFLOW_ENV_ALLOWLIST` names; masked in everything stored",
    "now": "when the step's first attempt began, ISO 8601 in UTC; the same in all its attempts",
    "workflow": "`id` and `execution_uuid`",
    "item": "inside `data_transform`: the item that is looked at",
    "index": "its position, from 0",
}

PATHS = [
    "{{trigger.file_id}}",
    "{{trigger.lines.0.item}}",
    "{{trigger.order-no}}",
    "{{limit}}",
    "{{trigger.missing}}",
    "Document {{trigger.file_id}}: {{steps.read.metadata}}",
    "{{ trigger.lines[1].price * 2 }}",
    "{{ 'large' if trigger.total | float > limit else 'small' }}",
]

FILTERS = {
    "default": "trigger.missing | default('none')",
    "d": "trigger.missing | d(0)",
    "string": "trigger.lines.0 | string",
    "tojson": "trigger.tags | tojson",
    "json": "trigger.name | json",
    "fromjson": "'[1, 2]' | fromjson",
    "int": "trigger.total | int",
    "float": "trigger.total | float",
    "length": "trigger.tags | length",
    "count": "trigger.tags | count",
    "upper": "trigger.tags.0 | upper",
    "lower": "'PDF' | lower",
    "title": "'north wind' | title",
    "capitalize": "'north wind' | capitalize",
    "trim": "trigger.name | trim",
    "replace": "'a-b' | replace('-', '/')",
    "split": "'a, b' | split(', ')",
    "truncate": "steps.read.content | truncate(10)",
    "center": "'ab' | center(6)",
    "format": "'%05d' | format(12)",
    "urlencode": "'a b/c' | urlencode",
    "date": "now | date('%d.%m.%Y')",
    "abs": "-3 | abs",
    "round": "2.345 | round(2)",
    "first": "trigger.tags | first",
    "last": "trigger.tags | last",
    "list": "'abc' | list",
    "keys": "trigger.lines.0 | keys",
    "values": "trigger.lines.0 | values",
    "items": "trigger.lines.0 | items",
    "join": "trigger.lines | join(', ', attribute='item')",
    "map": "trigger.lines | map(attribute='price')",
    "selectattr": "trigger.lines | selectattr('price', '>', 100)",
    "rejectattr": "trigger.lines | rejectattr('price', '>', 100)",
    "sort": "trigger.lines | sort(attribute='item') | first",
    "reverse": "trigger.tags | reverse",
    "unique": "trigger.tags | unique",
    "sum": "trigger.lines | sum(attribute='price')",
    "min": "trigger.lines | min(attribute='price')",
    "max": "trigger.lines | max(attribute='price')",
}

CONDITIONS: list[Any] = [
    "{{steps.read.word_count}} > 10",
    "{{trigger.total}} > 999 and 'urgent' in {{trigger.tags}}",
    "not ({{steps.read.content}} contains 'Credit note')",
    "{{trigger.missing}} not_exists",
    "{{trigger.order-no}} in ['00071001', '00071002']",
    {"field": "trigger.total", "operator": "greater_than", "value": 1000},
    {"left": "{{trigger.tags}}", "operator": "contains", "right": "paid"},
]

STEPS: dict[str, dict[str, Any]] = {
    "approval": {"group": "Finance", "message": "Pay {{trigger.total}} EUR?", "timeout_seconds": 86_400},
    "foreach": {
        "items": "{{trigger.lines}}",
        "max_concurrency": 5,
        "on_item_error": "continue",
        "steps": [
            {
                "name": "send",
                "type": "http_request",
                "config": {"method": "POST", "url": "https://api.example.com/lines", "json": "{{item}}"},
            }
        ],
    },
    "parallel": {
        "steps": [
            {"name": "stock", "type": "http_request", "config": {"url": "https://api.example.com/stock"}},
            {"name": "price", "steps": [{"name": "ask", "type": "log", "config": {"message": "Which price?"}}]},
        ]
    },
    "stop": {"status": "failed", "message": "No lines in {{trigger.original_filename}}"},
    "wait_for_event": {
        "event_type": "payment.received",
        "filter": "{{event.data.order_id}} == {{trigger.order_id}}",
        "timeout_seconds": 3600,
    },
    "workflow": {"workflow_id": 12, "input": {"file_id": "{{trigger.file_id}}"}, "wait": True},
    "conditional": {
        "condition": "{{trigger.total}} > 1000",
        "true_action": {"type": "log", "config": {"message": "A large one"}},
        "false_action": {"type": "log", "config": {"message": "A small one"}},
    },
    "data_transform": {
        "source_data": "{{trigger}}",
        "transformations": [
            {
                "type": "filter",
                "path": "lines",
                "field": "price",
                "operator": "greater_than",
                "value": 100,
                "key": "dear",
            },
            {"type": "aggregate", "path": "lines", "operation": "sum", "field": "price", "key": "total"},
            {"type": "template", "template": "{{total}} in all", "key": "sentence"},
        ],
    },
    "delay": {"seconds": 10},
    "file_process": {"action": "extract", "file_id": "{{trigger.file_id}}"},
    "http_request": {
        "url": "https://example.com/documents",
        "method": "POST",
        "headers": {"Authorization": "Bearer {{env.API_TOKEN}}"},
        "json": {"file_id": "{{trigger.file_id}}"},
        "expected_status": [200, 201],
    },
    "log": {"message": "Received {{trigger.original_filename}}", "level": "info"},
    "notification": {
        "type": "email",
        "to": ["Ada <ada@example.com>"],
        "subject": "Document {{trigger.file_id}}",
        "message": "It has arrived.",
    },
}
