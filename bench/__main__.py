"""`python -m bench`: measure, print a table, and write it to the path in BENCH_JSON."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench import bare_celery, formats, latency, loops, machine, per_step, servers, stack, stored, throughput, uploads
from bench.processes import Peer, environment
from bench.report import Result, median, table, write_json
from bench.servers import PEERS, Servers
from bench.workloads import FIVE_PURE_STEPS
from config.launcher import plan

PARTS = ("throughput", "steps", "latency", "profile", "loops", "uploads", "formats", "stored", "lists")


def main() -> None:
    """Run the parts that were asked for, all by default."""
    options = _options()
    began_at = time.monotonic()
    with servers.running() as found:
        print(machine.describe(found), flush=True)
        env = environment(found)
        subprocess.run(plan.manage("migrate", "--verbosity", "0"), check=True, env=env, cwd=plan.ROOT)
        with Peer("bench.our_peer", env=env, log=found.folder / "ours.log") as ours:
            results = _measure(found, ours, options)
    seconds = time.monotonic() - began_at
    print(f"\n{table(results)}\n\nThroughput: medians of {options.rounds} rounds; {seconds:.0f} s in all")
    if path := os.environ.get("BENCH_JSON"):
        write_json(results, Path(path))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--executions", type=int, default=3000, help="drained per round; over HTTP half of them")
    parser.add_argument("--stored", type=int, default=1_000_000, help="executions stored while lists are timed")
    options = parser.parse_args()
    options.parts = options.parts or list(PARTS)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    return options


def _measure(found: Servers, ours: Peer, options: argparse.Namespace) -> list[Result]:
    results: list[Result] = []
    workflow_id = ours.ask(action="create", name="Five pure steps", steps=FIVE_PURE_STEPS)
    if "throughput" in options.parts:
        results += _throughput(found, ours, workflow_id, options)
    if "steps" in options.parts:
        _say("ms per step next to DBOS")
        results += _per_step(found, ours, options.rounds)
    if "latency" in options.parts:
        _say("trigger to done, and what an execution costs")
        results += _latency(found, workflow_id)
    if "profile" in options.parts:
        _say("where the time of an execution goes, under the profiler")
        results += _profile(found, ours, workflow_id)
    if "loops" in options.parts:
        _say(f"a loop of {loops.ITEMS:,} requests of {loops.ANSWER_SECONDS * 1000:g} ms, {loops.AT_ONCE} at once")
        results += _loops(found, ours, options.rounds)
    if "uploads" in options.parts:
        _say("upload to done next to its bytes written and its text extracted by themselves")
        results += _uploads(found, options.rounds)
    if "formats" in options.parts:
        _say("every format next to the raw library and to markitdown")
        results += formats.measure(found.folder / "formats", env=environment(found), rounds=max(options.rounds, 7))
    if "stored" in options.parts:
        _say(f"the same beside {options.stored:,} stored executions and beside none, in turn")
        results += _stored(found, options)
    if "lists" in options.parts:
        _say(f"lists over {options.stored:,} stored executions")
        results += _lists(found, options.stored)
    return results


def _throughput(found: Servers, ours: Peer, workflow_id: int, options: argparse.Namespace) -> list[Result]:
    celery, drained, over_http = [], [], []
    for turn in range(1, options.rounds + 1):
        _say(f"executions per second next to bare Celery, round {turn} of {options.rounds}")
        celery.append(bare_celery.tasks_per_second(found, options.executions))
        drained.append(throughput.drained_per_second(found, ours, workflow_id, options.executions))
        throughput.forget_executions(found)
        with stack.running(found) as port:
            throughput.over_http_per_second(found, port, workflow_id, options.executions // 10)
            over_http.append(throughput.over_http_per_second(found, port, workflow_id, options.executions // 2))
    return [
        _rate("5-step pure execution, drained by 2 processes", drained, celery, aim=0.35),
        _rate("5-step pure execution, over HTTP by 16 clients", over_http, celery, aim=0.15),
    ]


def _per_step(found: Servers, ours: Peer, rounds: int) -> list[Result]:
    env = dict(os.environ) | {"DBOS_DATABASE_URL": found.database_url(PEERS)}
    with Peer("bench.dbos_peer", env=env, log=found.folder / "dbos.log") as dbos:
        times = per_step.measure(ours, dbos, rounds=max(rounds, 5), workflows=8)
    aims = {"pure": 0.2, "idempotent": 1.0, "once": 1.2}
    per_effect = [
        Result(f"{effect} step of 40, next to a DBOS step", "ms", median(times.ours[effect]), median(times.dbos), aim)
        for effect, aim in aims.items()
    ]
    saga = per_step.saga_ms(ours, rounds=max(rounds, 5))
    return [*per_effect, Result("coordinating a saga of three steps adds, per execution", "ms", saga, aim=10)]


def _latency(found: Servers, workflow_id: int) -> list[Result]:
    throughput.forget_executions(found)
    with stack.running(found) as port:
        p50, p99 = latency.trigger_to_done_ms(port, workflow_id, executions=400)
        cost = latency.cost_per_execution(found, port, workflow_id, executions=200)
    return [
        Result("trigger to done, p50", "ms", p50, aim=30),
        Result("trigger to done, p99", "ms", p99),
        Result("Celery messages per execution", "messages", cost.messages),
        Result("SQL statements per execution", "statements", cost.statements),
        Result("transactions per execution", "transactions", cost.transactions),
        Result("rows written per execution", "rows", cost.rows),
    ]


def _profile(found: Servers, ours: Peer, workflow_id: int) -> list[Result]:
    throughput.forget_executions(found)
    spent = ours.ask(action="profile", workflow_id=workflow_id, count=1000)
    total = spent.pop("all")
    return [Result(f"profile: {place}", "ms", took, total) for place, took in spent.items()]


def _loops(found: Servers, ours: Peer, rounds: int) -> list[Result]:
    throughput.forget_executions(found)
    runs = loops.measure(found, ours, rounds)
    name = f"loop of {loops.ITEMS} requests, {loops.AT_ONCE} at once, next to their waiting alone"
    return [
        Result(name, "s", median([run.seconds for run in runs]), loops.LIMIT_SECONDS, aim=6 / loops.LIMIT_SECONDS),
        Result(
            "most requests in flight, as their server saw it",
            "requests",
            max(run.most_in_flight for run in runs),
            aim=loops.AT_ONCE,
        ),
        Result("broker messages of that loop", "messages", median([run.messages for run in runs]), aim=50),
        Result("memory that its workers grew by", "MiB", max(run.grown_mib for run in runs), aim=50),
    ]


def _stored(found: Servers, options: argparse.Namespace) -> list[Result]:
    rounds = max(options.rounds, 5)
    beside, alone = stored.measure(found, stored=options.stored, executions=options.executions, rounds=rounds)
    name = f"5-step pure execution, drained beside {options.stored:,} stored ones, next to none"
    return [Result(name, "1/s", median(beside), median(alone), aim=1 / 1.2, more_is_better=True)]


def _uploads(found: Servers, rounds: int) -> list[Result]:
    with stack.running(found) as port:
        measured = uploads.measure(port, found.folder / "alone", files=200)
        return measured + uploads.per_second(port, found.folder / "written", files=400, rounds=rounds)


def _lists(found: Servers, executions: int) -> list[Result]:
    """Fill the database and time every list, in processes of their own: both are the product's."""
    run = partial(subprocess.run, check=True, env=environment(found), cwd=plan.ROOT)
    run([sys.executable, "-m", "bench.fill", "--executions", str(executions)])
    timed = run([sys.executable, "-m", "bench.lists", "--json"], stdout=subprocess.PIPE)
    return [Result(**row) for row in json.loads(timed.stdout.splitlines()[-1])]


def _rate(name: str, ours: Sequence[float], reference: Sequence[float], *, aim: float) -> Result:
    return Result(name, "1/s", median(ours), median(reference), aim, more_is_better=True)


def _say(what: str) -> None:
    print(f"... {what}", flush=True)


if __name__ == "__main__":
    main()
