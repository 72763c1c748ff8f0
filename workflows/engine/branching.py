"""Branches of branches: which children a node begins, in which scope each runs, and what came of them.

A scope is where outputs are seen: the execution's own list, one item of a loop, or one branch of a `parallel`.
Its path is the prefix of its steps' paths, "" for the execution's own. A step sees its scope and those around it.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

import orjson
from django.db import connection

from workflows.choices import BranchKind, Lane, StepStatus, WaitingOn
from workflows.engine import spill
from workflows.engine.checkpoint import Child, Ended, Next
from workflows.engine.context import History, Stored, load_history, scope_of
from workflows.engine.lease import Claim
from workflows.engine.program import END, FOREACH, GRAPH, Node, Program, handles_error
from workflows.engine.program import Child as Part
from workflows.engine.rendering import is_strict, render_items
from workflows.engine.steps.base import Spawn
from workflows.models import Branch

LARGEST_CHUNK = 100
# The code of a graph's child that did what it should, and with it ended the list that the graph stands in.
STOPPED = "stopped"
OVER = (StepStatus.COMPLETED, StepStatus.SKIPPED)


def join(scope: str, local: str) -> str:
    """Return the path of what is called `local` in a scope."""
    return f"{scope}/{local}" if scope and local else scope or local


class Place:
    """Where a claimed branch stands: its scope, what it sees, and of a loop its present item."""

    def __init__(self, program: Program, claim: Claim) -> None:
        self._program = program
        self._claim = claim
        self._known: dict[str, bool] = {}
        self._base: History | None = None
        self._items: dict[str, list[Any]] = {}
        self._scopes = [""]
        self.item = claim.first_item
        if claim.parent_id is not None:
            self._find_scopes()

    @property
    def scope(self) -> str:
        return self._scopes[-1]

    @cached_property
    def spawner(self) -> Node:
        """Return the node that this branch is a child of."""
        found = self._program.nodes[self._claim.cursor].spawner
        assert found is not None  # noqa: S101  (asked of children only)
        return self._program.nodes[found]

    @property
    def is_chunk(self) -> bool:
        return self._claim.kind == BranchKind.FOREACH_CHUNK

    @property
    def first_node(self) -> int:
        """Return where each item of the chunk begins."""
        return self.spawner.children[0].first

    @property
    def goes_on_after_errors(self) -> bool:
        return bool(self.spawner.step["config"].get("on_item_error") == "continue")

    @property
    def child_name(self) -> str:
        """Return this branch's name among its siblings."""
        if self.spawner.type != GRAPH:
            return self._claim.path.rpartition("/")[2]
        nodes = self._program.nodes
        parts = self.spawner.children
        return next(part.name for part in parts if join(self.scope, nodes[part.first].local) == self._claim.path)

    def path_of(self, node: Node) -> str:
        """Return the path of a step in this branch's scope."""
        return join(self.scope, node.local) if self.scope else node.local

    def load(self) -> History:
        """Read what this branch sees of earlier slices; of a loop's chunk anew for each item that has begun."""
        if not self.is_chunk:
            return load_history(self._claim, self._program, self._scopes)
        if self._base is None:
            self._base = load_history(self._claim, self._program, self._scopes[:-1])
            base, claim = self.scope.rpartition("/")[0], self._claim
            scopes = [join(base, str(item)) for item in range(claim.first_item or 0, (claim.last_item or 0) + 1)]
            self._known = ended_scopes(claim, self._program, self.spawner, scopes)
        history = self._base.copied()
        if self.scope in self._known:
            load_history(self._claim, self._program, [self.scope], onto=history)
        return history

    def is_item_done(self) -> bool:
        """Tell whether an earlier run of the loop has done the present item."""
        return self.is_chunk and self._known.get(self.scope, False)

    def next_item(self, last: int | None) -> int | None:
        """Return the chunk's next item that is not done, None after `last`."""
        base = self.scope.rpartition("/")[0]
        following = range((self.item or 0) + 1, (last or 0) + 1)
        return next((item for item in following if not self._known.get(join(base, str(item)))), None)

    def enter(self, item: int) -> None:
        """Go on to an item of the loop."""
        self.item = item
        self._scopes[-1] = join(self.scope.rpartition("/")[0], str(item))

    def loop(self, history: History) -> dict[str, Any] | None:
        """Return `item` and `index` of the innermost loop around this branch, None outside of loops."""
        roots: dict[str, Any] | None = None
        for node, outer, inner in self._loops():
            path = join(outer, node.local)
            if path not in self._items:
                stored = history.stored.get(path)
                now = stored.first_started_at if stored else None
                scope = scope_of(self._claim, self._program, history, now=now, loop=roots)
                self._items[path] = render_items(node, scope, strict=is_strict(self._program))
            index = int(inner.rpartition("/")[2])
            roots = {"item": self._items[path][index], "index": index}
        return roots

    def stored_with(self, following: Next, failed_items: list[Ended]) -> Next:
        """Return where the branch goes on, with the item of a chunk and those that failed."""
        return replace(following, item=self.item, failed_items=failed_items) if self.is_chunk else following

    def failed_items(self) -> list[Ended]:
        """Return the items of this chunk that failed in earlier slices."""
        return _column(self._claim, "failed_items") if self.is_chunk and self._claim.cursor != END else []

    def following(self, ended: list[Ended], alive: set[str]) -> list[Child]:
        """Return the siblings in a graph that can begin, given those that have ended and those that live."""
        return graph_children(self.spawner, program=self._program, scope=self.scope, ended=ended, alive=alive)

    def ended(self) -> list[Ended]:
        """Return what this branch's children came to."""
        return _column(self._claim, "ended")

    def _spawners(self) -> list[Node]:
        found = self._program.spawners_of(self._program.nodes[self._claim.cursor])
        return [node for node in found if node.type != GRAPH]

    def _find_scopes(self) -> None:
        """Names hold no "/", so a branch's path tells the items and branches that it runs in."""
        spawners = self._spawners()
        for node in spawners:
            base = join(self.scope, node.local)
            segment = self._claim.path[len(base) + 1 :].split("/")[0]
            if self.is_chunk and node is spawners[-1]:
                segment = str(self.item)
            self._scopes.append(join(base, segment))

    def _loops(self) -> list[tuple[Node, str, str]]:
        if self._claim.parent_id is None:
            return []
        scopes = zip(self._spawners(), self._scopes[:-1], self._scopes[1:], strict=True)
        return [(node, outer, inner) for node, outer, inner in scopes if node.type == FOREACH]


def _column(claim: Claim, name: str) -> list[Ended]:
    value = Branch.objects.values_list(name, flat=True).get(pk=claim.branch_id)
    found: list[Ended] = value
    return found


def children_of(node: Node, spawn: Spawn, *, program: Program, claim: Claim, path: str, repeated: bool) -> list[Child]:
    """Return the branches that a `parallel` or `foreach` at `path` begins; of a repeated step those left to do."""
    if node.type == FOREACH:
        return _chunks(node, spawn, program, path)
    done = ended_scopes(claim, program, node, [join(path, part.name) for part in node.children]) if repeated else {}
    parts = [part for part in node.children if not done.get(join(path, part.name))]
    return [_child(part, program, path=join(path, part.name)) for part in parts]


def _chunks(node: Node, spawn: Spawn, program: Program, path: str) -> list[Child]:
    """Cut a loop into ranges: as many as may be in flight, none over LARGEST_CHUNK; the rest wait for a slot."""
    count = spawn.count or 0
    size = min(-(-count // spawn.at_once), LARGEST_CHUNK)
    [part] = node.children
    chunks = []
    for number, first in enumerate(range(0, count, size)):
        last = min(first + size, count) - 1
        chunk = _child(part, program, path=join(path, f"{first}-{last}"), kind=BranchKind.FOREACH_CHUNK)
        chunk["first_item"], chunk["last_item"] = first, last
        chunk["waiting_on"] = "" if number < spawn.at_once else WaitingOn.SLOT
        chunks.append(chunk)
    return chunks


def _child(part: Part, program: Program, *, path: str, kind: BranchKind = BranchKind.PARALLEL) -> Child:
    lane = program.lane_at(part.first) or Lane.FLOW
    return Child(path=path, kind=kind, cursor=part.first, lane=lane, first_item=None, last_item=None, waiting_on="")


def graph_children(node: Node, *, program: Program, scope: str, ended: list[Ended], alive: set[str]) -> list[Child]:
    """Return the steps of a graph that can begin now: all they wait for has ended well.

    None after a failure or a `stop`.
    """
    if any(item["error"] is not None or item["error_code"] == STOPPED for item in ended):
        return []
    over = {item["name"] for item in ended}
    ready = [
        (part, join(scope, program.nodes[part.first].local))
        for part in node.children
        if part.name not in over and part.needs <= over
    ]
    return [_child(part, program, path=path) for part, path in ready if path not in alive]


def ended_in_graph(node: Node, program: Program, scope: str, history: History) -> list[Ended]:
    """Return the steps of a graph that earlier runs of it have ended well, and the end of all by a `stop`."""
    found: list[Ended] = []
    stops = [item for item in program.stops if node in program.spawners_of(item)]
    stored_stops = [history.stored.get(join(scope, item.local)) for item in stops]
    if any(stored and stored.status == StepStatus.COMPLETED for stored in stored_stops):
        found.append(Ended(name="", error=None, error_code=STOPPED))
    for part in node.children:
        step = program.nodes[part.first]
        stored = history.stored.get(join(scope, step.local))
        if stored and _is_over(step, stored.status):
            found.append(Ended(name=part.name, error=None, error_code=None))
    return found


def after_done(node: Node, stored: Stored, program: Program) -> int:
    """Return where an earlier run went on after a step that it completed; a conditional may have skipped ahead."""
    branch = (stored.output_data or {}).get("branch") if node.skips else None
    return node.targets[branch] if branch in node.skips else program.after(node)


def _is_over(node: Node, status: str) -> bool:
    return status in OVER or (status == StepStatus.FAILED and handles_error(node.step))


def ended_scopes(claim: Claim, program: Program, node: Node, scopes: list[str]) -> dict[str, bool]:
    """Tell of the scopes that have attempts already whether all they were to do is done."""
    if not scopes:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT scope, node, (array_agg(status ORDER BY attempt DESC))[1] FROM workflow_execution_steps"
            " WHERE execution_id = %s AND scope = ANY(%s) GROUP BY scope, node",
            [claim.execution_id, scopes],
        )
        rows = cursor.fetchall()
    over: dict[str, set[int]] = {scope: set() for scope, _, _ in rows}
    stops = {item.index for item in program.stops if item.spawner == node.index}
    stopped = {scope for scope, index, status in rows if index in stops and status == StepStatus.COMPLETED}
    for scope, index, status in rows:
        if _is_over(program.nodes[index], status):
            over[scope].add(index)
    wanted = {part.name: set(program.tails_of(part)) for part in node.children}
    names = {scope: "" if node.type == FOREACH else scope.rpartition("/")[2] for scope in over}
    return {scope: scope in stopped or done >= wanted[names[scope]] for scope, done in over.items()}


class Children:
    """What the branches that a step began came to, for its `resume`."""

    def __init__(self, claim: Claim, program: Program, node: Node, path: str) -> None:
        self._claim = claim
        self._program = program
        self._node = node
        self._path = path

    @cached_property
    def ended(self) -> list[Ended]:
        """Return the children's ends as their parent's row holds them; of a loop the failed items only."""
        return _column(self._claim, "ended")

    def outputs(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the output of the last step of each child named; None where it was skipped or failed.

        The children of a loop are its items, by index.
        """
        tail_of = {part.name: self._program.tails_of(part)[-1] for part in self._node.children}
        tails = {name: tail_of["" if self._node.type == FOREACH else name] for name in names}
        stored = self._stored({join(self._path, name): name for name in tails}, set(tails.values()))
        return {name: stored.get((name, tail)) for name, tail in tails.items()}

    def _stored(self, names_by_scope: dict[str, str], tails: set[int]) -> dict[tuple[str, int], Any]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT ON (scope, node) scope, node, CASE status WHEN 'completed' THEN output_data END,"
                " CASE status WHEN 'completed' THEN spill_id END"
                " FROM workflow_execution_steps WHERE execution_id = %s AND node = ANY(%s) AND scope = ANY(%s)"
                " ORDER BY scope, node, attempt DESC",
                [self._claim.execution_id, list(tails), list(names_by_scope)],
            )
            rows = cursor.fetchall()
        spilled = spill.read_all(spill_id for *_, spill_id in rows if spill_id is not None)
        return {
            (names_by_scope[scope], node): spilled.get(spill_id) if spill_id is not None else _from_json(value)
            for scope, node, value, spill_id in rows
        }


def _from_json(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str | bytes) else value
