"""Reads which files live executions need."""

from collections.abc import Collection
from typing import Any

from django.db import connection

from workflows.choices import LIVE_STATUSES

# A longer input is kept outside its row, and is not worth reading: triggers name their file in input_file_ids too.
_LONGEST_INPUT_BYTES = 64 * 1024

# One walk over the live executions, which are few beside the ended ones, and one over the triggers not yet looked at.
_IN_USE = """
SELECT used.id FROM workflow_executions e CROSS JOIN LATERAL (
  SELECT jsonb_array_elements_text(e.input_file_ids || e.output_file_ids) AS id
  UNION ALL
  SELECT CASE WHEN pg_column_size(e.trigger_data) <= %(longest)s THEN e.trigger_data->>'file_id' END) used
WHERE e.status = ANY(%(live)s) AND used.id = ANY(%(ids)s::text[])
UNION
SELECT f.id::text FROM files f JOIN workflow_executions e ON e.id = f.made_by_execution_id
WHERE f.id = ANY(%(ids)s::text[]::bigint[]) AND e.status = ANY(%(live)s)
UNION
SELECT file_id::text FROM workflow_evaluations
WHERE evaluated_at IS NULL AND file_id = ANY(%(ids)s::text[]::bigint[])
"""


def find_files_in_use(file_ids: Collection[int]) -> set[int]:
    """Return which of these files are the input or an output of a live execution, or wait for their triggers."""
    values: dict[str, Any] = {
        "ids": [str(key) for key in file_ids],
        "live": [status.value for status in LIVE_STATUSES],
        "longest": _LONGEST_INPUT_BYTES,
    }
    with connection.cursor() as cursor:
        cursor.execute(_IN_USE, values)
        return {int(key) for (key,) in cursor.fetchall()}
