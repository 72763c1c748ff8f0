"""The workflow that the demo runs: seed 004's example without the parts that need somebody else's servers."""

from typing import Any

NAME = "Demo: document pipeline"
STEPS = ("check", "read", "judge", "shape", "pause", "tell")

DEFINITION: dict[str, Any] = {
    "name": NAME,
    "description": "Made by `make demo`, and switched on only while it runs.",
    "workflow_config": {
        "steps": [
            {
                "name": "check",
                "type": "file_process",
                "config": {"action": "validate", "allowed_types": ["pdf", "docx", "csv", "xlsx"], "max_size_mb": 10},
            },
            {"name": "read", "type": "file_process", "config": {"action": "extract"}},
            {
                "name": "judge",
                "type": "conditional",
                "config": {
                    "condition": "{{steps.check.valid}} == true and {{steps.read.word_count}} > 10",
                    "true_action": {"type": "log", "config": {"message": "Worth keeping"}},
                    "false_action": {"type": "log", "config": {"message": "Hardly any text", "level": "warning"}},
                },
            },
            {
                "name": "shape",
                "type": "data_transform",
                "config": {
                    "source_data": "{{steps.read.metadata}}",
                    "transformations": [
                        {"type": "extract", "path": "extraction_method", "key": "method"},
                        {
                            "type": "template",
                            "template": "{{steps.read.word_count}} words: {{steps.judge.result.message}}",
                            "key": "line",
                        },
                    ],
                },
            },
            {"name": "pause", "type": "delay", "config": {"seconds": 1}},
            {"name": "tell", "type": "notification", "config": {"type": "log", "message": "{{steps.shape.line}}"}},
        ]
    },
    "trigger_on_file_upload": True,
    "trigger_file_extensions": "pdf,docx,csv,xlsx",
    "timeout_seconds": 120,
    "is_enabled": True,
}
