"""How long each list takes on a database that `bench.fill` has filled. `python -m bench.lists [--json]`.

Through Django's test client, so that the figure is the product's and PostgreSQL's own: URL to rendered page.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

if __name__ == "__main__":  # not for whoever imports this: its other processes would inherit them
    os.environ.setdefault("API_KEY", "bench-key")
    os.environ.setdefault("RATE_LIMIT_ENABLED", "false")
    os.environ.setdefault("LOG_LEVEL", "ERROR")

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import Permission  # noqa: E402
from django.test import Client  # noqa: E402

from accounts import services as accounts  # noqa: E402
from accounts.models import User  # noqa: E402
from bench import fill  # noqa: E402
from bench.report import Result, table  # noqa: E402
from files.models import File  # noqa: E402
from workflows.models import Execution, Workflow  # noqa: E402

MOST_MS = 300.0
ROUNDS = 20
OPERATOR = "bench@example.com"

Paths = Mapping[str, str]
Get = Callable[[str], Any]


def measure(*, rounds: int = ROUNDS) -> list[Result]:
    """Return p50 and p95 of every list, in ms, held against MOST_MS."""
    execution, file = (model._default_manager.order_by("-pk")[1000] for model in (Execution, File))
    workflow = Workflow.objects.filter(owner__name=fill.OWNER_EMAIL.format(1)).order_by("pk")[0]
    found = []
    for who, get, paths in (
        ("admin", _signed_in(_operator()), admin_paths(execution, file, workflow)),
        ("admin, one owner's", _signed_in(_author()), admin_paths(execution, file, workflow)),
        ("API, all owners", _with_key(settings.SERVICE_API_KEYS[0]), api_paths(execution, file, workflow)),
        ("API, one owner", _with_key(_owners_key()), api_paths(execution, file, workflow)),
    ):
        for name, path in paths.items():
            found += _timed(f"{who}: {name}", get, path, rounds)
    return found


def admin_paths(execution: Execution, file: File, workflow: Workflow) -> Paths:
    """Return the pages that an operator opens: each list plain, filtered, searched, sorted and deep."""
    executions, files = "/admin/workflows/execution/", "/admin/files/file/"
    evaluations, audit = "/admin/workflows/evaluation/", "/admin/accounts/auditentry/"
    return {
        "first page": "/admin/",
        "executions": executions,
        **{f"executions {status}": f"{executions}?status__exact={status}" for status in ("completed", "failed")},
        "executions timeout": f"{executions}?status__exact=timeout",
        "executions running": f"{executions}?status__exact=running",
        "executions by trigger": f"{executions}?trigger_type__exact=webhook",
        "executions by status and trigger": f"{executions}?status__exact=timeout&trigger_type__exact=webhook",
        "executions of a workflow that failed": f"{executions}?workflow__id__exact={workflow.pk}&status__exact=failed",
        "executions by id": f"{executions}?q={execution.pk}",
        "executions by UUID": f"{executions}?q={execution.uuid}",
        "executions, last page": f"{executions}?p=200",
        "executions, oldest first": f"{executions}?o=1",
        "files": files,
        "files processed": f"{files}?status__exact=processed",
        "files failed": f"{files}?status__exact=failed",
        "files by name": f"{files}?q=invoice-1777",
        "files by a name that is not there": f"{files}?q=nowhere",
        "files by a word of one text": f"{files}?q={file.pk}+paper",
        "files by id": f"{files}?q={file.pk}",
        "files by UUID": f"{files}?q={file.uuid}",
        "files, last page": f"{files}?p=200",
        **{f"files, sorted by column {column}": f"{files}?o={column}" for column in (1, 8)},
        "workflows": "/admin/workflows/workflow/",
        "workflows by name": "/admin/workflows/workflow/?q=Orders",
        "evaluations": evaluations,
        "evaluations by id of the file": f"{evaluations}?q={file.pk}",
        "evaluations, last page": f"{evaluations}?p=200",
        **{f"evaluations, sorted by column {column}": f"{evaluations}?o={column}" for column in (1, 3, 6)},
        "audit trail": audit,
        "audit trail by object": f"{audit}?q=77",
        "audit trail by actor": f"{audit}?q=person7@example.com",
        "audit trail by nobody": f"{audit}?q=nobody",
        "audit trail, last page": f"{audit}?p=200",
        **{f"audit trail, sorted by column {column}": f"{audit}?o={column}" for column in (1, 2)},
    }


def api_paths(execution: Execution, file: File, workflow: Workflow) -> Paths:
    """Return the lists of the API: plain, filtered and deep."""
    executions, of_workflow, files = "/api/v1/executions", f"/workflows/{workflow.pk}/executions", "/api/v1/files"
    return {
        "executions": executions,
        **{f"executions {status}": f"{executions}?status={status}" for status in ("completed", "failed", "timeout")},
        "executions running": f"{executions}?status=running",
        "executions of a workflow": f"{executions}?workflow_id={workflow.pk}",
        "executions at offset 100,000": f"{executions}?offset=100000",
        "executions at offset 900,000": f"{executions}?offset=900000",
        "executions completed at offset 900,000": f"{executions}?status=completed&offset=900000",
        "a workflow's executions": of_workflow,
        "a workflow's executions that failed": f"{of_workflow}?status=failed",
        "a workflow's executions that timed out": f"{of_workflow}?status=timeout",
        "a workflow's executions at offset 15,000": f"{of_workflow}?offset=15000",
        "files": files,
        "files processed": f"{files}?status=processed",
        "files failed": f"{files}?status=failed",
        "files by words of one text": f"{files}?search={file.pk}+paper",
        "files by words that no text has": f"{files}?search=nowhere",
        "files at offset 190,000": f"{files}?offset=190000",
        "workflows": "/api/v1/workflows",
    }


def _timed(name: str, get: Get, path: str, rounds: int) -> list[Result]:
    times = []
    for _ in range(rounds + 1):
        began_at = time.perf_counter()
        answer = get(path)
        times.append((time.perf_counter() - began_at) * 1000)
        if answer.status_code == 302 and answer["Location"].endswith("?e=1"):
            return []  # with so few rows there is no such page
        if answer.status_code != 200:
            raise RuntimeError(f"{path} answered {answer.status_code}: {answer.content[:300]!r}")
    # The first one also compiles templates and warms PostgreSQL's cache.
    times = sorted(times[1:])
    p95 = times[min(len(times) - 1, int(len(times) * 0.95))]
    return [
        Result(f"{name}, p50", "ms", float(statistics.median(times)), aim=MOST_MS),
        Result(f"{name}, p95", "ms", p95, aim=MOST_MS),
    ]


def _operator() -> User:
    return User.objects.filter(email=OPERATOR).first() or User.objects.create_superuser(OPERATOR)


def _author() -> User:
    """Return the first owner's user, who may see whatever belongs to him."""
    user = User.objects.get(email=fill.OWNER_EMAIL.format(1))
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return user


def _owners_key() -> str:
    owner = accounts.owner_of_user(_author())
    return accounts.create_api_key(owner=owner, name="bench", scopes=["read"], actor="bench")[1]


def _signed_in(user: User) -> Get:
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client.get


def _with_key(key: str) -> Get:
    return Client(headers={"host": "localhost", "x-api-key": key}).get


def main() -> None:
    """Print a table, or with --json the results for the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.lists", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure(rounds=options.rounds)
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        print(table(results))


if __name__ == "__main__":
    main()
