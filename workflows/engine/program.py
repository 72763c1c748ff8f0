"""A version's definition, compiled into a flat list of nodes that a cursor walks.

A conditional at index i is followed by the nodes of its true branch, those of its false branch, and a join
that completes the conditional. The program of a version never changes, so a stored cursor stays valid.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from workflows.choices import Effect, Lane
from workflows.engine.steps import registry

END = -1
CONDITIONALS = frozenset({"conditional", "condition"})
ERROR_BRANCH = "on_error"


@dataclass
class Node:
    """One place of the program. `next` and `targets` are indexes; END ends the branch."""

    index: int
    path: str
    name: str
    step: dict[str, Any]
    order: int
    kind: Literal["step", "join"] = "step"
    next: int = END
    targets: dict[str, int] = field(default_factory=dict)
    parent: int | None = None
    skips: dict[str, list[int]] = field(default_factory=dict)

    @property
    def type(self) -> str:
        return str(self.step["type"])


@dataclass(frozen=True)
class Program:
    """The nodes of one version, its variables and its limits."""

    nodes: list[Node]
    variables: dict[str, Any]
    settings: dict[str, Any]

    @property
    def start(self) -> int:
        return 0 if self.nodes else END

    def lane_at(self, index: int) -> Lane | None:
        """Return the lane that the node at `index` needs; None where any will do."""
        if index == END or self.nodes[index].kind == "join":
            return None
        step_type = registry.find(self.nodes[index].type)
        return step_type.lane if step_type else None

    def after_error(self, node: Node) -> int:
        """Return where the list goes on once `node` has failed: its error branch, or what follows it."""
        return node.targets.get("error", _last_of(node, self.nodes).next)

    def effect_at(self, index: int) -> Effect:
        """Return the node's effect class: the author's choice, else the step type's default."""
        node = self.nodes[index]
        if chosen := node.step.get("effect"):
            return Effect(chosen)
        step_type = registry.find(node.type)
        return step_type.effect if step_type else Effect.IDEMPOTENT


def compile_program(definition: dict[str, Any]) -> Program:
    """Compile a canonical definition (ENGINE 2). The definition has been validated."""
    nodes: list[Node] = []
    _compile_list(definition.get("steps", []), nodes, prefix="", parent=None)
    _fall_through(nodes)
    _rejoin_error_branches(nodes)
    return Program(nodes, definition.get("variables", {}), definition.get("settings", {}))


@lru_cache(maxsize=512)
def of_version(version_id: int) -> Program:
    """Return the program of a version; versions are immutable, so it is compiled once per process."""
    from workflows.models import WorkflowVersion

    definition = WorkflowVersion.objects.values_list("definition", flat=True).get(pk=version_id)
    return compile_program(definition)


def in_order(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a list's steps in topological order of `depends_on`, ties by position."""
    waiting = list(steps)
    done: set[str] = set()
    previous: dict[str, set[str]] = {}
    for above, step in zip([None, *steps], steps, strict=False):
        implied = {above["name"]} if above is not None else set()
        previous[step["name"]] = set(step["depends_on"]) if "depends_on" in step else implied
    while waiting:
        step = next((item for item in waiting if previous[item["name"]] <= done), waiting[0])
        waiting.remove(step)
        done.add(step["name"])
        yield step


def _compile_list(steps: list[dict[str, Any]], nodes: list[Node], *, prefix: str, parent: int | None) -> list[Node]:
    made: list[Node] = []
    for order, step in enumerate(in_order(steps), start=1):
        node = Node(len(nodes), f"{prefix}{step['name']}", step["name"], step, order, parent=parent)
        nodes.append(node)
        made.append(node)
        if step["type"] in CONDITIONALS:
            _compile_branches(node, nodes)
        if isinstance(step.get("on_error"), dict):
            _compile_error_branch(node, nodes)
    for node, follower in zip(made, [*made[1:], None], strict=False):
        _link_list_item(node, follower, made, nodes)
    return made


def _compile_branches(node: Node, nodes: list[Node]) -> None:
    """Compile the two actions of a conditional and the join after them."""
    config = node.step.get("config", {})
    tails: list[Node] = []
    for branch in ("true", "false"):
        steps = _action_steps(config.get(f"{branch}_action"), branch)
        if not steps:
            continue
        first = len(nodes)
        inner = _compile_list(steps, nodes, prefix=f"{node.path}/", parent=node.index)
        node.targets[branch] = first
        tails.append(inner[-1])
    if tails:
        join = Node(len(nodes), node.path, node.name, node.step, node.order, kind="join", parent=node.parent)
        join.targets["of"] = node.index
        nodes.append(join)
        for tail in tails:
            _last_of(tail, nodes).next = join.index
        node.targets["join"] = join.index


def handles_error(step: dict[str, Any]) -> bool:
    """Tell whether the execution goes on after the step has failed."""
    return bool(step.get("on_error", "fail") != "fail")


def _compile_error_branch(node: Node, nodes: list[Node]) -> None:
    """Compile the steps that run if `node` fails; after them the list goes on behind it.

    The failed step is over by then, so its parent is theirs.
    """
    first = len(nodes)
    steps = node.step["on_error"]["steps"]
    inner = _compile_list(steps, nodes, prefix=f"{node.path}/{ERROR_BRANCH}/", parent=node.parent)
    node.targets["error"] = first
    node.targets["error_end"] = _last_of(inner[-1], nodes).index


def _rejoin_error_branches(nodes: list[Node]) -> None:
    """Let error branches end behind the step that failed; outer ones first, since inner ones end where they do."""
    for node in nodes:
        if "error_end" in node.targets:
            nodes[node.targets["error_end"]].next = _last_of(node, nodes).next


def _action_steps(action: dict[str, Any] | None, branch: str) -> list[dict[str, Any]]:
    if not action or "skip_to_step" in action:
        return []
    if "steps" in action:
        return list(action["steps"])
    return [{**action, "name": branch, "depends_on": []}]


def _link_list_item(node: Node, follower: Node | None, siblings: list[Node], nodes: list[Node]) -> None:
    after = follower.index if follower else END
    last = _last_of(node, nodes)
    if last.next == END:
        last.next = after
    if node.next == END and last is not node:
        node.next = after
    if node.type not in CONDITIONALS:
        return
    for branch in ("true", "false"):
        action = (node.step.get("config") or {}).get(f"{branch}_action") or {}
        if target := action.get("skip_to_step"):
            position = siblings.index(node)
            found = next(item for item in siblings[position + 1 :] if item.name == target)
            between = siblings[position + 1 : siblings.index(found)]
            node.targets[branch] = found.index
            node.skips[branch] = [item.index for item in between]


def _last_of(node: Node, nodes: list[Node]) -> Node:
    """Return the node that a list item ends in: the join of a conditional with actions, else itself."""
    return nodes[node.targets["join"]] if "join" in node.targets else node


def _fall_through(nodes: list[Node]) -> None:
    """Let the end of an inner list run into the join of the conditional around it."""
    for node in nodes:
        if node.next == END and node.parent is not None and (join := nodes[node.parent].targets.get("join")):
            node.next = join
