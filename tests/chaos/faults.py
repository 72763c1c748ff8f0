"""What goes wrong in a run: kills at named points or of the whole tree, a broker that forgets or is gone, zombies."""

import random
import time
from collections import Counter
from collections.abc import Iterator

from tests.chaos import scenario
from tests.chaos.effects import UNCLEAR, Effect, EffectServer, Mode, ignore
from tests.chaos.stack import LEASE_SECONDS, POINTS, Stack

BROKER_DOWN_SECONDS = 3.0
FLUSHES = 3
# Long enough for the lease to run out, be swept and be taken by somebody else.
ZOMBIE_SECONDS = LEASE_SECONDS + 1.5
IN_TRANSACTION = ("in_checkpoint", "in_finish", "in_evaluation", "extract_before_commit")
TREE_POINTS = {
    "extraction": ("extract_started", "extract_before_commit"),
    "checkpoint": ("in_checkpoint", "in_finish", "after_claim", "after_effect"),
}
TREE_MOMENTS = ("extraction", "delay", "http", "checkpoint")
# 15 runs; 60 runs hold 16 kills of the whole tree and 64 armed points.
CYCLE = (
    *("points", "tree", "points", "broker stopped", "points"),
    *("tree", "points", "broker flushed", "points", "tree"),
    *("points", "zombie", "points", "tree", "points"),
)


def plan(runs: int, dice: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield the faults of each run: every kind and every point comes round, in an order of the seed's."""
    points = _bag(POINTS, dice)
    moments = _bag(TREE_MOMENTS, dice)
    for number in range(runs):
        match CYCLE[number % len(CYCLE)]:
            case "points":
                first, second = next(points), next(points)
                yield tuple(dict.fromkeys((first, second)))
            case "tree":
                yield (f"tree in {next(moments)}",)
            case other:
                yield (other,)


def _bag(items: tuple[str, ...], dice: random.Random) -> Iterator[str]:
    while True:
        yield from dice.sample(items, len(items))


class Injector:
    """Brings the faults of one run about. `tend` from the main thread; `hits` counts what really struck."""

    def __init__(self, stack: Stack, effects: EffectServer, faults: tuple[str, ...], dice: random.Random) -> None:
        self.stack = stack
        self.faults = faults
        self.hits: Counter[str] = Counter()
        self.last_at = time.monotonic()
        self._effects = effects
        self._dice = dice
        self._due: list[tuple[float, str]] = []
        self._armed: dict[str, str] = {}
        self._left_to_watch = 0

    @property
    def kills(self) -> bool:
        """Whether this run ends processes, so that an outcome may remain unknown."""
        return any(fault in POINTS or fault.startswith("tree") for fault in self.faults)

    @property
    def pending(self) -> bool:
        """Whether something is still to be done at a certain time."""
        return bool(self._due)

    def begin(self) -> None:
        """Arm everything; call before the load."""
        self._effects.watch = ignore
        for fault in self.faults:
            if fault in POINTS:
                self._arm(fault, "child", name=fault)
            elif fault == "zombie":
                self._arm("after_claim", f"hang:{ZOMBIE_SECONDS}", name=fault)
            elif fault == "broker stopped":
                self._in(0.0, "broker stops")
            elif fault == "broker flushed":
                for _ in range(FLUSHES):
                    self._in(self._dice.uniform(0.1, 1.5), "flush")
            else:
                self._begin_tree(fault)

    def _begin_tree(self, fault: str) -> None:
        moment = fault.removeprefix("tree in ")
        if moment in TREE_POINTS:
            self._arm(self._dice.choice(TREE_POINTS[moment]), "tree", name=fault)
            return
        self._left_to_watch = self._dice.randint(2, 8)
        self._effects.watch = self._kill_in_http if moment == "http" else self._kill_in_delay

    def _arm(self, point: str, text: str, *, name: str) -> None:
        self.stack.arm(point, text)
        self._armed[point] = name

    def _in(self, seconds: float, what: str) -> None:
        self._due.append((time.monotonic() + seconds, what))

    def _kill_in_http(self, effect: Effect) -> None:
        """Kill the tree while the server holds an answer back."""
        self._left_to_watch -= 1
        if self._left_to_watch == 0 and self.stack.kill_tree():
            self._struck("tree in http")

    def _kill_in_delay(self, effect: Effect) -> None:
        """Kill the tree while the delay after this effect lasts."""
        if effect.step == scenario.RESERVE and effect.mode == Mode.NORMAL:
            self._left_to_watch -= 1
            if self._left_to_watch == 0:
                self._in(self._dice.uniform(0.5, 0.9) * scenario.DELAY_SECONDS, "kill tree")

    def tend(self) -> None:
        """Do what is due, and notice which tokens were taken."""
        self.stack.tend()
        now = time.monotonic()
        for item in [item for item in self._due if item[0] <= now]:
            self._due.remove(item)
            self._do(item[1])
        for point, name in self._armed.items():
            if count := self.stack.take_hits(point):
                self._struck(name, count)

    def _do(self, what: str) -> None:
        match what:
            case "kill tree":
                if self.stack.kill_tree():
                    self._struck("tree in delay")
            case "flush":
                self.stack.flush_broker()
                self._struck("broker flushed")
            case "broker stops":
                self.stack.stop_broker()
                self._struck("broker stopped")
                self._in(BROKER_DOWN_SECONDS, "broker returns")
            case "broker returns":
                self.stack.start_broker()
                self.last_at = time.monotonic()

    def _struck(self, name: str, count: int = 1) -> None:
        self.hits[name] += count
        self.last_at = time.monotonic() + (ZOMBIE_SECONDS if name == "zombie" else 0)

    def end(self) -> None:
        """Disarm what nobody passed."""
        self._effects.watch = ignore
        self.tend()
        for point in self._armed:
            self.stack.disarm(point)


class Moods:
    """Decides how the effect server answers, by the seed: mostly well; a step is treated badly twice at most."""

    def __init__(self, seed: str, *, bad: float = 0.08, worst_repeats: int = 2) -> None:
        self._seed = seed
        self._bad = bad
        self._worst_repeats = worst_repeats

    def __call__(self, execution_id: int, step: str, nth: int) -> Mode:
        dice = random.Random(f"{self._seed}:{execution_id}:{step}:{nth}")
        if nth > self._worst_repeats or dice.random() > 2 * self._bad:
            return Mode.NORMAL
        return dice.choice(sorted(UNCLEAR)) if dice.random() < 0.5 else Mode.LATE
