"""Stored history by the million, inserted by PostgreSQL itself. `python -m bench.fill --executions 1000000`.

The rows look like a year's-quarter of work of five owners: most executions completed, some failed, were cancelled or
timed out, and the latest are still running, waiting or due. Column by column a row takes the model's own default
unless the statement says otherwise, so that a new column needs nothing here.
"""

import argparse
import time
from typing import Any

import django

django.setup()

from django.db import connection, transaction  # noqa: E402
from django.db.models import NOT_PROVIDED, Model  # noqa: E402

from accounts import services as accounts  # noqa: E402
from accounts.models import AuditEntry, Owner, User  # noqa: E402
from bench.workloads import FIVE_PURE_STEPS  # noqa: E402
from files.models import File, FileContent  # noqa: E402
from workflows import services  # noqa: E402
from workflows.models import Branch, Evaluation, Execution, StepAttempt, Workflow  # noqa: E402

DAYS = 90
LIVE = 200
OWNER_EMAIL = "owner{}@example.com"

# Scrambles a number, so that neighbours differ in everything; the same in every run.
_SCRAMBLED = "((n::bigint * 2654435761) %% 4294967296)"
_EXECUTIONS = f"""
(SELECT *, created_at + pause AS started_at, created_at + pause + took_ms * interval '1 ms' AS ended_at FROM (
  SELECT n, scrambled, workflow.*, interval '20 ms' AS pause, 20 + scrambled %% 4000 AS took_ms,
    now() - (%(count)s - n + 1) * interval '{DAYS} days' / %(count)s AS created_at,
    CASE WHEN n > %(count)s - %(live)s THEN CASE WHEN n %% 5 = 0 THEN 'pending' ELSE 'running' END
         WHEN scrambled %% 1000 < 925 THEN 'completed' WHEN scrambled %% 1000 < 975 THEN 'failed'
         WHEN scrambled %% 1000 < 990 THEN 'cancelled' ELSE 'timeout' END AS status
  FROM (SELECT n, {_SCRAMBLED} AS scrambled FROM generate_series(1, %(count)s) n) numbered
  JOIN (SELECT row_number() OVER (ORDER BY id) - 1 AS place, count(*) OVER () AS places, id AS workflow_id,
               owner_id, published_version_id AS version_id FROM workflows WHERE id = ANY(%(workflows)s)) workflow
    ON workflow.place = (scrambled / 4096) %% places
) drawn) row
"""
_FAILED = "row.status IN ('failed', 'timeout')"
_ENDED = "row.status NOT IN ('pending', 'running')"


def fill_executions(count: int, *, owners: int = 5, workflows: int = 50, steps: int = 5) -> list[int]:
    """Insert `count` executions over 90 days with `steps` step attempts each; return the workflows' ids.

    The latest LIVE of them (a tenth of few) are alive and have a branch each: in work, waiting or due. The tables
    are analysed afterwards. Not inside a transaction that must stay open: VACUUM refuses that, and is left out then.
    """
    ids = _make_workflows(_make_owners(owners), workflows)
    base = _last_id(Execution)
    live = min(LIVE, count // 10)
    _insert(
        Execution,
        _EXECUTIONS,
        {"count": count, "live": live, "workflows": ids},
        uuid="gen_random_uuid()",
        workflow="row.workflow_id",
        version="row.version_id",
        owner="row.owner_id",
        trigger_type="(ARRAY['manual', 'file_processed', 'scheduled', 'webhook'])[1 + row.scrambled %% 4]",
        trigger_data="jsonb_build_object('order', row.n, 'customer', 'Example Ltd')",
        status="row.status",
        error_code=f"CASE WHEN {_FAILED} THEN 'HTTP_ERROR' ELSE '' END",
        error_message=f"CASE WHEN {_FAILED} THEN 'Step ''report'' failed: the server answered 503' END",
        created_at="row.created_at",
        started_at="CASE WHEN row.status <> 'pending' THEN row.started_at END",
        completed_at=f"CASE WHEN {_ENDED} THEN row.ended_at END",
        execution_time_ms=f"CASE WHEN {_ENDED} THEN row.took_ms END",
        updated_at=f"CASE WHEN {_ENDED} THEN row.ended_at ELSE row.created_at END",
    )
    _fill_attempts(base, steps)
    _fill_branches(base)
    _fold_totals(ids)
    _analyse(Execution, StepAttempt, Branch, Workflow)
    return ids


def fill_files(count: int, *, owners: int = 5) -> None:
    """Insert `count` files over 90 days with text, and an evaluation with three verdicts of each processed one."""
    base = _last_id(File)
    name = "'invoice-' || row.n || (ARRAY['.pdf', '.docx', '.csv', '.txt'])[1 + row.n %% 4]"
    stored = "encode(sha256(row.n::text::bytea), 'hex')"
    source = f"""
    (SELECT n, {_SCRAMBLED} %% 1000 AS drawn, now() - (%(count)s - n) * interval '{DAYS} days' / %(count)s AS at
     FROM generate_series(1, %(count)s) n) row
    """
    failed = "row.drawn >= 960 AND row.drawn < 985"
    status = f"CASE WHEN {failed} THEN 'failed' WHEN row.drawn >= 985 THEN 'deleted' ELSE 'processed' END"
    _insert(
        File,
        source,
        {"count": count, "owners": _make_owners(owners)},
        uuid="gen_random_uuid()",
        owner=f"(%(owners)s::bigint[])[1 + row.n %% {owners}]",
        filename=stored,
        original_filename=name,
        file_path=stored,
        mime_type="(ARRAY['application/pdf', 'application/msword', 'text/csv', 'text/plain'])[1 + row.n %% 4]",
        file_size="1000 + row.n %% 100000",
        file_hash=stored,
        status=status,
        error_code=f"CASE WHEN {failed} THEN 'FILE_ENCRYPTED' ELSE '' END",
        error_message=f"CASE WHEN {failed} THEN 'The file needs a password' ELSE '' END",
        extraction_metadata=f"CASE WHEN {failed} THEN '{{}}'::jsonb ELSE jsonb_build_object('page_count', 2) END",
        uploaded_by="'fill'",
        processing_number="1",
        created_at="row.at",
        updated_at="row.at",
        processed_at="row.at",
    )
    _fill_contents(base)
    _fill_evaluations(base)
    _analyse(File, FileContent, Evaluation)


def fill_audit(count: int) -> None:
    """Insert `count` entries of the audit trail over 90 days."""
    source = f"""
    (SELECT n, now() - (%(count)s - n) * interval '{DAYS} days' / %(count)s AS at
     FROM generate_series(1, %(count)s) n) row
    """
    _insert(
        AuditEntry,
        source,
        {"count": count},
        actor="'person' || row.n %% 40 || '@example.com'",
        action="(ARRAY['workflow.updated', 'workflow.created', 'file.deleted', 'api_key.revoked'])[1 + row.n %% 4]",
        object_type="'workflow'",
        object_id="(row.n %% 5000)::text",
        created_at="row.at",
    )
    _analyse(AuditEntry)


def _make_owners(count: int) -> list[int]:
    """Return the ids of the first `count` owners, each with a user of its own."""
    owners = []
    for number in range(1, count + 1):
        user, _ = User.objects.get_or_create(email=OWNER_EMAIL.format(number), defaults={"is_staff": True})
        owners.append(accounts.owner_of_user(user).pk)
    return owners


def _make_workflows(owners: list[int], count: int) -> list[int]:
    body = {"workflow_config": {"steps": FIVE_PURE_STEPS}, "trigger_on_file_upload": True}
    made = []
    with transaction.atomic():
        for number in range(count):
            owner = Owner.objects.get(pk=owners[number % len(owners)])
            made.append(services.create_workflow(owner=owner, body={"name": f"Orders {number}"} | body, actor="fill"))
    return [workflow.pk for workflow in made]


def _fill_attempts(base: int, steps: int) -> None:
    """Give every execution its attempts; the last one of a failed execution failed."""
    names = [step["name"] for step in FIVE_PURE_STEPS]
    source = "(SELECT * FROM workflow_executions WHERE id > %(base)s AND status <> 'pending') row"
    failed = f"({_FAILED} AND n = %(steps)s)"
    _insert(
        StepAttempt,
        f"{source} CROSS JOIN generate_series(1, %(steps)s) n",
        {"base": base, "steps": min(steps, len(names)), "names": names},
        execution="row.id",
        path="(%(names)s::text[])[n]",
        node="n - 1",
        step_order="n",
        step_name="(%(names)s::text[])[n]",
        step_type="CASE WHEN n = 3 THEN 'conditional' WHEN n IN (2, 4) THEN 'data_transform' ELSE 'log' END",
        effect="'pure'",
        status=f"CASE WHEN {failed} THEN 'failed' ELSE 'completed' END",
        input_data="jsonb_build_object('message', 'Order received')",
        output_data=f"CASE WHEN NOT {failed} THEN jsonb_build_object('order', row.id) END",
        error_code=f"CASE WHEN {failed} THEN 'HTTP_ERROR' ELSE '' END",
        error_message=f"CASE WHEN {failed} THEN 'the server answered 503' END",
        execution_time_ms="4",
        started_at="row.started_at",
        completed_at="row.started_at + interval '4 ms'",
        created_at="row.started_at",
    )


def _fill_branches(base: int) -> None:
    waits, works = (f"row.status = 'running' AND row.id %% 3 {sign} 0" for sign in ("=", "<>"))
    _insert(
        Branch,
        "(SELECT * FROM workflow_executions WHERE id > %(base)s AND status IN ('pending', 'running')) row",
        {"base": base},
        execution="row.id",
        owner_id="row.owner_id",
        workflow_id="row.workflow_id",
        lane="(ARRAY['flow', 'io', 'files'])[1 + row.id %% 3]",
        rank="row.priority",
        waiting_on=f"CASE WHEN {waits} THEN 'approval' ELSE '' END",
        waiting_reason=f"CASE WHEN {waits} THEN 'waits for the approval of finance@example.com' ELSE '' END",
        claimed_by=f"CASE WHEN {works} THEN 'worker-1' ELSE '' END",
        lease_until=f"CASE WHEN {works} THEN now() + interval '1 hour' END",
        created_at="row.created_at",
    )


def _fill_contents(base: int) -> None:
    text = "repeat('Invoice ' || row.id || ' of Example Ltd for paper and ink. ', 60)"
    source = "(SELECT * FROM files WHERE id > %(base)s AND status = 'processed') row"
    _insert(FileContent, source, {"base": base}, file="row.id", text=text, search=f"to_tsvector('simple', {text})")


def _fill_evaluations(base: int) -> None:
    verdict = "jsonb_build_object('workflow_id', {0}, 'workflow', 'Orders {0}', 'fired', {0} = 1, 'reason', 'pdf only')"
    _insert(
        Evaluation,
        "(SELECT * FROM files WHERE id > %(base)s AND status = 'processed') row",
        {"base": base},
        owner="row.owner_id",
        file_id="row.id",
        processing_number="1",
        request="jsonb_build_object('file_id', row.id, 'original_filename', row.original_filename)",
        verdicts=f"jsonb_build_array({', '.join(verdict.format(number) for number in (1, 2, 3))})",
        evaluated_at="row.processed_at",
        created_at="row.processed_at",
    )


def _fold_totals(workflows: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE workflows SET total_executions = n, successful_executions = good, failed_executions = bad,
              last_execution_at = last_at
            FROM (SELECT workflow_id, count(*) AS n, count(*) FILTER (WHERE status = 'completed') AS good,
                    count(*) FILTER (WHERE status IN ('failed', 'timeout')) AS bad, max(completed_at) AS last_at
                  FROM workflow_executions WHERE workflow_id = ANY(%s) GROUP BY 1) done
            WHERE workflows.id = done.workflow_id
            """,
            [workflows],
        )


def _insert(model: type[Model], source: str, values: dict[str, Any], **expressions: str) -> None:
    """Insert the rows of `source` into a model's table: each field by its SQL expression, else by its default."""
    columns, given, parameters = [], [], dict(values)
    for field in model._meta.concrete_fields:
        expression = expressions.pop(field.name, None)
        if expression is None:
            if field.primary_key or field.db_default is not NOT_PROVIDED:
                continue
            expression = f"%(default_{field.name})s"
            parameters[f"default_{field.name}"] = field.get_db_prep_save(field.get_default(), connection)
        columns.append(connection.ops.quote_name(field.column))
        given.append(expression)
    assert not expressions, f"{model.__name__} has no field {', '.join(expressions)}"
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(given)} FROM {source}", parameters
        )


def _last_id(model: type[Model]) -> int:
    return model._default_manager.order_by("-pk").values_list("pk", flat=True).first() or 0


def _analyse(*models: type[Model]) -> None:
    """Let the planner know the new rows, and mark their pages as visible to all, as autovacuum would."""
    vacuum = "" if connection.in_atomic_block else "VACUUM "
    tables = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in models)
    with connection.cursor() as cursor:
        cursor.execute(f"{vacuum}ANALYZE {tables}")


def main() -> None:
    """Fill the database of DATABASE_URL."""
    parser = argparse.ArgumentParser(prog="python -m bench.fill", description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=5, help="step attempts of each execution")
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--audit", type=int, default=200_000)
    options = parser.parse_args()
    for name, fill in (
        ("executions", lambda: fill_executions(options.executions, steps=options.steps)),
        ("files", lambda: fill_files(options.files)),
        ("audit", lambda: fill_audit(options.audit)),
    ):
        began_at = time.monotonic()
        fill()
        print(f"{getattr(options, name)} {name} in {time.monotonic() - began_at:.0f} s", flush=True)


if __name__ == "__main__":
    main()
