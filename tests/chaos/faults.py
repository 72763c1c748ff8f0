"""What goes wrong in a run: kills at named points or of the whole tree, servers that forget or are gone, zombies."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar

import redis

from tests.chaos import scenario
from tests.chaos.effects import UNCLEAR, Effect, EffectServer, Mode, ignore
from tests.chaos.stack import LEASE_SECONDS, POINTS, Stack

BROKER_DOWN_SECONDS = 2.0
DATABASE_DOWN_SECONDS = 0.5
BELLS_TAMPERED_SECONDS = 1.5
FLUSHES = 3
# Long enough for the lease to run out, be swept and be taken by somebody else.
ZOMBIE_SECONDS = LEASE_SECONDS + 1.5
AHEAD_SECONDS, BACK_SECONDS = 3600.0, -2.0
# No fault but a circumstance: so many more workers, and so many starts of the limited workflow at once.
CROWD = ("flow2", "flow3", "flow4")
CROWD_STARTS = 12
IN_TRANSACTION = ("in_checkpoint", "in_finish", "in_evaluation", "extract_before_commit", "before_trigger_commit")
TREE_POINTS = {
    "extraction": ("extract_started", "extract_before_commit"),
    "checkpoint": ("in_checkpoint", "in_finish", "after_claim", "after_effect"),
}
TREE_MOMENTS = ("extraction", "delay", "http", "checkpoint")
DATABASE = ("database killed", "database restarted")
# 20 runs; 300 runs hold 45 kills of the whole tree, 270 armed points, and 15 of everything else.
CYCLE = (
    *("points", "tree", "points", "broker stopped", "points"),
    *("crowd", "points", "broker flushed", "tree", "points"),
    *("clock jumps", "points", "zombie", "points", "two beats"),
    *("tree", "bells lost and doubled", "points", "frozen", "database"),
)
# After these every outcome is known: nothing was killed, frozen or cut off.
GENTLE = ("broker stopped", "broker flushed", "clock jumps", "two beats", "bells lost and doubled")
OTHERS_AT_ONCE = 3
OTHERS = (
    *(scenario.LOOP, scenario.FAN, scenario.GRAPH, scenario.SAGA, scenario.LIMITED, scenario.STAMPS),
    *(scenario.EVENT, scenario.APPROVAL),
)


Watch = Callable[[Effect], None]
Item = TypeVar("Item")


def plan(runs: int, dice: random.Random) -> Iterator[tuple[str, ...]]:
    """Yield the faults of each run: every kind and every point comes round, in an order of the seed's."""
    points, moments, ends = _bag(POINTS, dice), _bag(TREE_MOMENTS, dice), _bag(DATABASE, dice)
    for number in range(runs):
        match CYCLE[number % len(CYCLE)]:
            case "points":
                first, second = next(points), next(points)
                yield tuple(dict.fromkeys((first, second)))
            case "tree":
                yield (f"tree in {next(moments)}",)
            case "database":
                yield (next(ends),)
            case "crowd":
                yield ("crowd", dice.choice(("in_checkpoint", "after_claim", "in_finish")))
            case other:
                yield (other,)


def plots(dice: random.Random) -> Iterator[tuple[scenario.Plot, ...]]:
    """Yield what each run plays: the first plot and some others, each of which comes round."""
    others = _bag(OTHERS, dice)
    while True:
        yield tuple(dict.fromkeys((scenario.MAIN, *(next(others) for _ in range(OTHERS_AT_ONCE)))))


def _bag(items: tuple[Item, ...], dice: random.Random) -> Iterator[Item]:
    while True:
        yield from dice.sample(items, len(items))


class Injector:
    """Brings the faults of one run about. `tend` from the main thread; `hits` counts what really struck."""

    def __init__(self, stack: Stack, effects: EffectServer, faults: tuple[str, ...], dice: random.Random) -> None:
        self.stack = stack
        self.faults = faults
        self.hits: Counter[str] = Counter()
        self.in_transaction = 0
        self.last_at = time.monotonic()
        self._effects = effects
        self._dice = dice
        self._due: list[tuple[float, str]] = []
        self._armed: dict[str, str] = {}
        self._left_to_watch = 0
        self._helpers: list[str] = []
        self._tampering: BellTampering | None = None

    @property
    def kills(self) -> bool:
        """Whether this run ends or freezes processes, so that an outcome may remain unknown."""
        return any(fault not in GENTLE for fault in self.faults)

    @property
    def freezes(self) -> bool:
        """Whether a process outlives its lease in this run."""
        return any(fault in ("zombie", "frozen") for fault in self.faults)

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
            else:
                self._begin(fault)

    def _begin(self, fault: str) -> None:
        match fault:
            case "zombie":
                self._arm("after_claim", f"hang:{ZOMBIE_SECONDS}", name=fault)
            case "frozen":
                self._help("io2", lane="io")
                self._watch(self._freeze_in_http, 6)
            case "broker stopped":
                self._in(0.0, "broker stops")
            case "broker flushed":
                for _ in range(FLUSHES):
                    self._in(self._dice.uniform(0.1, 1.0), "flush")
            case "bells lost and doubled":
                self._tampering = BellTampering(self.stack.broker_port, random.Random(self._dice.random()))
                self._in(BELLS_TAMPERED_SECONDS, "leave bells alone")
            case "database killed" | "database restarted":
                self._in(self._dice.uniform(0.3, 1.0), fault)
            case "two beats":
                self.stack.add_beat("beat2")
                self._helpers.append("beat2")
                self._in(self._dice.uniform(0.6, 1.2), "kill beat")
            case "clock jumps":
                self._in(self._dice.uniform(0.2, 0.6), "clock ahead")
                self._in(self._dice.uniform(0.7, 1.2), "clock back")
            case "crowd":
                for name in CROWD:
                    self._help(name, lane="flow")
            case _:
                self._begin_tree(fault)

    def _begin_tree(self, fault: str) -> None:
        moment = fault.removeprefix("tree in ")
        if moment in TREE_POINTS:
            self._arm(self._dice.choice(TREE_POINTS[moment]), "tree", name=fault)
        elif moment == "http":
            self._watch(self._kill_in_http, 8)
        else:
            self._watch(self._kill_in_delay, 2)

    def _help(self, name: str, *, lane: str) -> None:
        self.stack.add_worker(lane, name)
        self._helpers.append(name)

    def _watch(self, watch: Watch, most: int) -> None:
        self._left_to_watch = self._dice.randint(1, most)
        self._effects.watch = watch

    def _arm(self, point: str, text: str, *, name: str) -> None:
        self.stack.arm(point, text)
        self._armed[point] = name

    def _in(self, seconds: float, what: str) -> None:
        self._due.append((time.monotonic() + seconds, what))

    def _is_the_one(self) -> bool:
        self._left_to_watch -= 1
        return self._left_to_watch == 0

    def _kill_in_http(self, effect: Effect) -> None:
        """Kill the tree while the server holds an answer back."""
        if self._is_the_one() and self.stack.kill_tree():
            self._struck("tree in http")

    def _kill_in_delay(self, effect: Effect) -> None:
        """Kill the tree while the delay after this effect lasts."""
        if effect.step == scenario.RESERVE and effect.mode not in UNCLEAR and self._is_the_one():
            self._in(self._dice.uniform(0.5, 0.9) * scenario.DELAY_SECONDS, "kill tree")

    def _freeze_in_http(self, effect: Effect) -> None:
        """Stop a worker while the server holds an answer back; it goes on when others have its work."""
        if self._is_the_one():
            self.stack.signal("io", signal.SIGSTOP)
            self._in(ZOMBIE_SECONDS, "thaw")

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
                if point in IN_TRANSACTION:
                    self.in_transaction += count

    def _do(self, what: str) -> None:
        stack = self.stack
        match what:
            case "kill tree":
                if stack.kill_tree():
                    self._struck("tree in delay")
            case "flush":
                stack.flush_broker()
                self._struck("broker flushed")
            case "broker stops":
                stack.stop_broker()
                self._struck("broker stopped")
                self._in(BROKER_DOWN_SECONDS, "broker returns")
            case "broker returns":
                stack.start_broker()
                self.last_at = time.monotonic()
            case "database killed" | "database restarted":
                stack.stop_database(kill=what == "database killed")
                self._struck(what)
                self._in(DATABASE_DOWN_SECONDS, "database returns")
            case "database returns":
                stack.start_database()
                self.last_at = time.monotonic()
            case "kill beat":
                stack.kill(self._dice.choice(("beat", "beat2")))
                self._struck("two beats")
            case "thaw":
                stack.signal("io", signal.SIGCONT)
                self._struck("frozen")
            case "clock ahead":
                stack.move_clock(AHEAD_SECONDS)
                self._struck("clock jumps")
            case "clock back":
                stack.move_clock(BACK_SECONDS)
                self._struck("clock jumps")
            case "leave bells alone":
                self._leave_bells()

    def _leave_bells(self) -> None:
        assert self._tampering is not None
        if self._tampering.end():
            self._struck("bells lost and doubled")

    def _struck(self, name: str, count: int = 1) -> None:
        self.hits[name] += count
        self.last_at = time.monotonic() + (ZOMBIE_SECONDS if name == "zombie" else 0)

    def end(self) -> None:
        """Disarm what nobody passed, and send the helpers home."""
        self._effects.watch = ignore
        self.tend()
        for point in self._armed:
            self.stack.disarm(point)
        for name in self._helpers:
            self.stack.remove(name)
        if "frozen" in self.faults:
            self.stack.signal("io", signal.SIGCONT)


class BellTampering:
    """Hears bells in the workers' place: forgets every second one, and rings the others twice."""

    def __init__(self, broker_port: int, dice: random.Random) -> None:
        self._client = redis.Redis(port=broker_port)
        self._dice = dice
        self._ended = threading.Event()
        self._lost = self._doubled = 0
        self._thread = threading.Thread(target=self._tamper, daemon=True)
        self._thread.start()

    def end(self) -> bool:
        """Leave the bells alone; True if some were lost and some doubled."""
        self._ended.set()
        self._thread.join()
        self._client.close()
        return bool(self._lost and self._doubled)

    def _tamper(self) -> None:
        while not self._ended.is_set():
            heard = self._client.brpop(["flow", "io", "files"], timeout=0.05)
            if heard is None:
                continue
            lane, bell = heard
            if self._dice.random() < 0.5:
                self._lost += 1
                continue
            self._doubled += 1
            self._client.rpush(lane, bell, bell)
            # The workers' turn.
            self._ended.wait(0.01)


class Moods:
    """Decides how the effect server answers, by the seed: mostly well; a step is treated badly twice at most."""

    def __init__(self, seed: str, *, bad: float = 0.04, worst_repeats: int = 2) -> None:
        self._seed = seed
        self._bad = bad
        self._worst_repeats = worst_repeats

    def __call__(self, execution_id: int, step: str, nth: int) -> Mode:
        dice = random.Random(f"{self._seed}:{execution_id}:{step}:{nth}")
        if nth > self._worst_repeats or dice.random() > 2 * self._bad:
            return Mode.NORMAL
        return dice.choice(sorted(UNCLEAR)) if dice.random() < 0.5 else Mode.LATE
