"""A version's definition, compiled into a flat list of nodes that a cursor walks.

A conditional at index i is followed by the nodes of its true branch, those of its false branch, and a join
that completes the conditional. Lists whose steps run side by side (`parallel`, `foreach`, and lists whose
`depends_on` leave two effects free of each other) are walked by branches of their own, which end at END.
The program of a version never changes, so a stored cursor stays valid.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from workflows.choices import Effect, Lane
from workflows.engine.steps import registry

END = -1
CONDITIONALS = frozenset({"conditional", "condition"})
PARALLEL = "parallel"
FOREACH = "foreach"
GRAPH = "graph"
STOP = "stop"
SPAWNERS = frozenset({PARALLEL, FOREACH, GRAPH})
ERROR_BRANCH = "on_error"
COMPENSATE = "compensate"
FINALLY = "finally"


@dataclass(frozen=True)
class Child:
    """A list that a branch of its own walks: from `first` to END, its last step being `tail`.

    `needs` names the children of the same graph that end before it begins.
    """

    name: str
    first: int
    tail: int
    needs: frozenset[str] = frozenset()


@dataclass
class Node:
    """One place of the program. `next` and `targets` are indexes; END ends the branch.

    `path` is where the step stands in the definition, `local` the same from its branch's scope on. `parent` is
    the conditional around it within the same branch, `spawner` the node whose branches walk it.
    """

    index: int
    path: str
    name: str
    step: dict[str, Any]
    order: int
    kind: Literal["step", "join", "graph"] = "step"
    next: int = END
    targets: dict[str, int] = field(default_factory=dict)
    parent: int | None = None
    skips: dict[str, list[int]] = field(default_factory=dict)
    local: str = ""
    spawner: int | None = None
    children: list[Child] = field(default_factory=list)

    @property
    def type(self) -> str:
        return str(self.step["type"])


@dataclass(frozen=True)
class _Place:
    """Where a list is compiled: the prefixes of its paths, and what stands around it."""

    path: str = ""
    local: str = ""
    parent: int | None = None
    spawner: int | None = None

    def inside(self, name: str, **around: int | None) -> "_Place":
        """Return the place of a list inside this one that the same branch walks."""
        found = {"parent": self.parent, **around}
        return _Place(f"{self.path}{name}/", f"{self.local}{name}/", found["parent"], self.spawner)


@dataclass
class Program:
    """The nodes of one version, its variables and its limits."""

    nodes: list[Node]
    variables: dict[str, Any]
    settings: dict[str, Any]
    # Where the steps begin that run whatever came of the others; END without such.
    last: int = END

    @cached_property
    def compensable(self) -> list[int]:
        """Return the nodes whose steps can be undone."""
        return [node.index for node in self.nodes if COMPENSATE in node.targets]

    @cached_property
    def compensations(self) -> frozenset[int]:
        """Return the nodes that undo others."""
        return frozenset(self.nodes[index].targets[COMPENSATE] for index in self.compensable)

    @cached_property
    def stops(self) -> list[Node]:
        """Return the steps that end the list they stand in."""
        return [node for node in self.nodes if node.type == STOP]

    @property
    def start(self) -> int:
        return 0 if self.nodes and self.last != 0 else END

    def is_last(self, index: int) -> bool:
        """Tell whether a node is one of the finally-steps, or stands in one."""
        return END < self.last <= index

    def lane_at(self, index: int) -> Lane | None:
        """Return the lane that the node at `index` needs; None where any will do."""
        if index == END or self.nodes[index].kind != "step":
            return None
        step_type = registry.find(self.nodes[index].type)
        return step_type.lane if step_type else None

    def spawners_of(self, node: Node) -> list[Node]:
        """Return the nodes whose branches walk `node`, outermost first."""
        found: list[Node] = []
        while node.spawner is not None:
            node = self.nodes[node.spawner]
            found.insert(0, node)
        return found

    def tails_of(self, child: Child) -> list[int]:
        """Return the nodes that have ended when a child has."""
        node = self.nodes[child.tail]
        if node.kind != "graph":
            return [node.index]
        return [tail for inner in node.children for tail in self.tails_of(inner)]

    def after(self, node: Node) -> int:
        """Return where the list goes on behind `node`, branches of its own included."""
        return _last_of(node, self.nodes).next

    def after_error(self, node: Node) -> int:
        """Return where the list goes on once `node` has failed: its error branch, or what follows it."""
        return node.targets.get("error", self.after(node))

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
    _compile_list(definition.get("steps", []), nodes, _Place())
    last = len(nodes) if definition.get(FINALLY) else END
    _compile_list(definition.get(FINALLY, []), nodes, _Place(f"{FINALLY}/", f"{FINALLY}/"))
    _fall_through(nodes)
    _rejoin_error_branches(nodes)
    return Program(nodes, definition.get("variables", {}), definition.get("settings", {}), last)


@lru_cache(maxsize=512)
def of_version(version_id: int) -> Program:
    """Return the program of a version; versions are immutable, so it is compiled once per process."""
    from workflows.models import WorkflowVersion

    definition = WorkflowVersion.objects.values_list("definition", flat=True).get(pk=version_id)
    return compile_program(definition)


def _compile_list(steps: list[dict[str, Any]], nodes: list[Node], place: _Place) -> list[Node]:
    ordered = list(in_order(steps))
    if runs_side_by_side(steps):
        return [_compile_graph(ordered, nodes, place)]
    made = [_compile_step(step, order, nodes, place) for order, step in enumerate(ordered, start=1)]
    for node, follower in zip(made, [*made[1:], None], strict=False):
        _link_list_item(node, follower, made, nodes)
    return made


def _compile_step(step: dict[str, Any], order: int, nodes: list[Node], place: _Place) -> Node:
    node = _new_node(step, order, nodes, place)
    if step["type"] in CONDITIONALS:
        _compile_branches(node, nodes, place)
    elif step["type"] in SPAWNERS:
        node.children = list(_compile_children(node, nodes))
    if isinstance(step.get("on_error"), dict):
        _compile_error_branch(node, nodes, place)
    if step.get(COMPENSATE):
        undoing = {**step[COMPENSATE], "name": COMPENSATE}
        node.targets[COMPENSATE] = len(nodes)
        _new_node(undoing, order, nodes, replace(place.inside(node.name), parent=None))
    return node


def _new_node(step: dict[str, Any], order: int, nodes: list[Node], place: _Place) -> Node:
    name = step["name"]
    node = Node(len(nodes), f"{place.path}{name}", name, step, order, parent=place.parent, spawner=place.spawner)
    node.local = f"{place.local}{name}"
    nodes.append(node)
    return node


def runs_side_by_side(steps: list[dict[str, Any]]) -> bool:
    """Tell whether `depends_on` leaves two steps with an effect free of each other.

    Pure steps gain nothing from branches of their own, and a forward skip needs one order for all.
    """
    if not any("depends_on" in step for step in steps) or any(_skips_ahead(step) for step in steps):
        return False
    needs = dependencies(steps)
    above: dict[str, set[str]] = {}
    effects: list[str] = []
    for step in in_order(steps):
        name = step["name"]
        above[name] = needs[name].union(*(above[earlier] for earlier in needs[name] if earlier in above))
        if _has_effect(step):
            if any(earlier not in above[name] for earlier in effects):
                return True
            effects.append(name)
    return False


def dependencies(steps: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Return what each step of a list waits for: its `depends_on`, else the step above it."""
    found: dict[str, set[str]] = {}
    for above, step in zip([None, *steps], steps, strict=False):
        implied = {above["name"]} if above is not None else set()
        found[step["name"]] = set(step["depends_on"]) if "depends_on" in step else implied
    return found


def _has_effect(step: dict[str, Any]) -> bool:
    """Tell whether running the step beside others can save time; what holds other steps counts as one that has."""
    if step["type"] in CONDITIONALS or step["type"] in SPAWNERS:
        return True
    kind = registry.find(step["type"])
    return bool(step.get("effect", kind.effect if kind else Effect.IDEMPOTENT) != Effect.PURE)


def _skips_ahead(step: dict[str, Any]) -> bool:
    config = step.get("config") or {}
    return any("skip_to_step" in (config.get(key) or {}) for key in ("true_action", "false_action"))


def _compile_graph(ordered: list[dict[str, Any]], nodes: list[Node], place: _Place) -> Node:
    """Compile a list whose steps are children of a node without a step of its own, each begun when it can be."""
    graph = Node(len(nodes), place.path, "", {"type": GRAPH}, 0, kind="graph", parent=place.parent)
    graph.local, graph.spawner = place.local, place.spawner
    nodes.append(graph)
    needs = dependencies(ordered)
    inside = _Place(place.path, place.local, None, graph.index)
    for order, step in enumerate(ordered, start=1):
        node = _compile_step(step, order, nodes, inside)
        graph.children.append(Child(node.name, node.index, node.index, frozenset(needs[node.name])))
    _add_join(graph, nodes)
    return graph


def _add_join(node: Node, nodes: list[Node]) -> Node:
    """Add the node that a conditional's actions, or a graph's branches, meet in."""
    join = Node(len(nodes), node.path, node.name, node.step, node.order, kind="join", parent=node.parent)
    join.local, join.spawner = node.local, node.spawner
    join.targets["of"] = node.index
    node.targets["join"] = join.index
    nodes.append(join)
    return join


def _compile_children(node: Node, nodes: list[Node]) -> Iterator[Child]:
    """Compile the lists that a `parallel` or `foreach` runs in branches of their own, in scopes of their own."""
    config = node.step["config"]
    if node.type == FOREACH:
        yield _compile_child("", config["steps"], nodes, _Place(f"{node.path}/", "", None, node.index))
        return
    for step in config["steps"]:
        name = step["name"]
        if "steps" in step and "type" not in step:
            yield _compile_child(name, step["steps"], nodes, _Place(f"{node.path}/{name}/", "", None, node.index))
        else:
            yield _compile_only_step(step, nodes, _Place(f"{node.path}/", "", None, node.index))


def _compile_only_step(step: dict[str, Any], nodes: list[Node], place: _Place) -> Child:
    """Compile a child that is one step: its scope and its path are the same, so the name is not repeated."""
    first = len(nodes)
    name = step["name"]
    made = _compile_step(step, 1, nodes, place)
    for node in nodes[first:]:
        if node.spawner == place.spawner:
            node.local = node.local.removeprefix(name).lstrip("/")
    return Child(name, made.index, made.index)


def _compile_child(name: str, steps: list[dict[str, Any]], nodes: list[Node], place: _Place) -> Child:
    first = len(nodes)
    made = _compile_list(steps, nodes, place)
    return Child(name, first, made[-1].index)


def in_order(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a list's steps in topological order of `depends_on`, ties by position."""
    waiting = list(steps)
    done: set[str] = set()
    previous = dependencies(steps)
    while waiting:
        step = next((item for item in waiting if previous[item["name"]] <= done), waiting[0])
        waiting.remove(step)
        done.add(step["name"])
        yield step


def _compile_branches(node: Node, nodes: list[Node], place: _Place) -> None:
    """Compile the two actions of a conditional and the join after them."""
    config = node.step.get("config", {})
    tails: list[Node] = []
    for branch in ("true", "false"):
        steps = _action_steps(config.get(f"{branch}_action"), branch)
        if not steps:
            continue
        first = len(nodes)
        inner = _compile_list(steps, nodes, place.inside(node.name, parent=node.index))
        node.targets[branch] = first
        tails.append(inner[-1])
    if tails:
        join = _add_join(node, nodes)
        for tail in tails:
            _last_of(tail, nodes).next = join.index


def handles_error(step: dict[str, Any]) -> bool:
    """Tell whether the execution goes on after the step has failed."""
    return bool(step.get("on_error", "fail") != "fail")


def _compile_error_branch(node: Node, nodes: list[Node], place: _Place) -> None:
    """Compile the steps that run if `node` fails; after them the list goes on behind it.

    The failed step is over by then, so its parent is theirs.
    """
    first = len(nodes)
    inner = _compile_list(node.step["on_error"]["steps"], nodes, place.inside(f"{node.name}/{ERROR_BRANCH}"))
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
    """Return the node that a list item ends in: the join of a conditional with actions or a graph, else itself."""
    return nodes[node.targets["join"]] if "join" in node.targets else node


def _fall_through(nodes: list[Node]) -> None:
    """Let the end of an inner list run into the join of the conditional around it."""
    for node in nodes:
        if node.next == END and node.parent is not None and (join := nodes[node.parent].targets.get("join")):
            node.next = join
