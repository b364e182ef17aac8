"""Discrete events: several processes on one wallet, a model of Stripe's ledger, and everything that goes wrong between.

Owns the model: keys forgotten after 24 hours, answers lost and late, failures stored with and without effect, outages,
processes that sleep (also between deciding and sending), clocks that stand still, kills, clean exits, top-ups. The
chains are the package's own; only what surrounds them is modelled here. The same seed gives the same run.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from stripe_meter.enforcement.credits.chain import Chain
from stripe_meter.enforcement.credits.ledger import Entry, Ledger, Write, repairs
from stripe_meter.enforcement.credits.steps import Answer, Look, Mark, Phase, Policy, Step

KEYS_LIVE = 24 * 3600.0
TIMEOUT = 5.0
HOUR = 3600.0
RETURN = Policy()


@dataclass(frozen=True)
class Variant:
    """A way to run the protocol, perhaps a wrong one: each field that is not at its default breaks one rule."""

    chain: type[Chain] = Chain
    repairs: Callable[[Ledger, int, int, set[str]], list[Write]] = repairs
    gives_up: bool = False
    blind_retry: bool = False
    never_learns: bool = False
    eager: bool = False


@dataclass(frozen=True)
class Setting:
    """One kind of life."""

    policy: Policy = RETURN
    hours: float = 4.0
    kills: bool = False
    pauses: bool = True
    long_pauses: bool = True
    faults: bool = True
    slow: bool = False
    bought: int = 3000
    think: float = 15.0
    variant: Variant = Variant()


@dataclass
class Outcome:
    """What a run came to."""

    bought: int = 0
    served: int = 0
    credit: int = 0
    kill_bound: int = 0
    pause_bound: int = 0
    kills: int = 0
    pauses: int = 0
    most_over: int = 0
    over_bound: int = 0
    writes: int = 0
    reads: int = 0
    calls: int = 0
    unfinished: list[str] = field(default_factory=list)
    second_recovery: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def minted(self) -> int:
        return self.served + self.credit - self.bought


class Stripe:
    """One customer's balance."""

    def __init__(self) -> None:
        self.balance = 0
        self.rows: list[Entry] = []
        self.keys: dict[str, tuple[float, Write, Entry | None, int]] = {}
        self.outages: list[tuple[float, float]] = []

    def buy(self, amount: int, now: float) -> None:
        self.balance -= amount
        self.rows.append(Entry(f"t{len(self.rows)}", -amount, int(now)))

    def write(self, write: Write, now: float, failure: str | None) -> Answer | str:
        """The answer, or `500` or `conflict`. `failure`: None, `500` or `500 with effect`."""
        known = self.keys.get(write.key)
        if known is not None and now - known[0] < KEYS_LIVE:
            if known[1] != write:
                return "conflict"
            return "500" if known[2] is None else Answer(known[2].id, known[2].created, known[3], int(now))
        row = None
        if failure != "500":
            self.balance += write.amount
            row = Entry(f"t{len(self.rows)}", write.amount, int(now), write.chain, write.number, write.used)
            self.rows.append(row)
        self.keys[write.key] = (now, write, row if failure is None else None, self.balance)
        return "500" if failure or row is None else Answer(row.id, row.created, self.balance, int(now))

    def mark(self, mark: Mark) -> None:
        for index, row in enumerate(self.rows):
            if row.id == mark.transaction:
                self.rows[index] = Entry(row.id, row.amount, row.created, row.chain, row.number, mark.used)

    def sums(self) -> dict[str, tuple[int, int]]:
        """Of each chain, the sum of its amounts and its highest use."""
        found: dict[str, tuple[int, int]] = {}
        for row in self.rows:
            if row.chain:
                total, used = found.get(row.chain, (0, 0))
                found[row.chain] = total + row.amount, max(used, row.used)
        return found


class Process:
    """One server process: its chains and the workers that call."""

    def __init__(self, world: World, boot: str) -> None:
        self.world, self.boot = world, boot
        self.chains: list[Chain] = []
        self.current: Chain | None = None
        self.busy: set[str] = set()
        self.waiting: list[tuple[Chain, int, Callable[[bool], None]]] = []
        self.dry_until, self.dry_for = 0.0, 15.0
        self.recovered_at = -1e9
        self.dead = self.leaving = False
        self.paused_until = 0.0
        #: Its wall clock may be wrong by a day from the start; the account read has shown it one `Date` header.
        self.slept, self.lag, self.learned = 0.0, world.dice.choice([0.0, 90.0, -27 * HOUR]), 0.0
        self.heard()
        self.bodies: dict[str, Write] = {}

    # Clocks: its own seconds stand still while the machine sleeps, and its wall clock is wrong afterwards.

    @property
    def own(self) -> float:
        return self.world.now - self.slept

    @property
    def wall(self) -> float:
        return self.world.now - self.lag + self.learned

    def heard(self) -> None:
        if not self.world.setting.variant.never_learns:
            self.learned = self.lag

    # Calls.

    def live(self) -> None:
        """One worker: think, call, again."""
        world = self.world
        if self.leaving:
            return
        if world.now > world.ends:
            self.leave()
            return
        price = world.dice.randint(1, 6)

        def finished(chain: Chain, used: int | None) -> None:
            if used is None:
                chain.give_back(price)
            else:
                world.out.served += chain.settle(price, used, "tool")
                world.out.calls += 1
            self.pump(chain)
            world.after(world.dice.expovariate(1 / world.setting.think), self.live, self)

        def admitted(chain: Chain | None) -> None:
            if chain is None:
                world.after(world.dice.expovariate(1 / world.setting.think), self.live, self)
                return
            used = None if world.dice.random() < 0.1 else world.dice.randint(1, price)
            world.after(world.call_seconds(), lambda: finished(chain, used), self)

        self.admit(price, admitted)

    def admit(self, price: int, then: Callable[[Chain | None], None]) -> None:
        chain = self.current
        if chain is not None and chain.take(price):
            self.pump(chain)
            then(chain)
            return
        if self.world.now < self.dry_until:
            then(None)
            return
        if chain is None or not chain.is_open:
            chain = self.open_chain()
        self.wait(chain, price, then)

    def open_chain(self) -> Chain:
        world = self.world
        id = f"{self.boot}-{len(self.chains)}"
        self.current = world.setting.variant.chain(id, world.setting.policy, self.own)
        self.chains.append(self.current)
        return self.current

    def wait(self, chain: Chain, price: int, then: Callable[[Chain | None], None]) -> None:
        state = {"over": False}

        def look(is_late: bool) -> None:
            if state["over"]:
                return
            if chain.take(price):
                end(chain)
            elif is_late or not chain.is_open:
                end(None)
            elif chain.is_dry and chain.id not in self.busy:
                end(None)
                self.short(chain)

        def end(found: Chain | None) -> None:
            state["over"] = True
            chain.want_no_more(price)
            self.waiting.remove(entry)
            then(found)

        entry = (chain, price, look)
        self.waiting.append(entry)
        chain.want(price)
        self.world.after(TIMEOUT, lambda: look(True), self)
        self.pump(chain)

    def short(self, chain: Chain) -> None:
        world = self.world
        chain.end()
        if self.current is chain:
            self.current = None
        self.pump(chain)
        self.dry_until = world.now + self.dry_for
        self.dry_for = min(120.0, 2 * self.dry_for)
        rest = 60.0 if world.setting.variant.eager else 900.0
        if world.setting.policy.returns and self.own - self.recovered_at > rest:
            self.recovered_at = self.own
            world.after(0.1, self.recover, self)

    # Writing.

    def pump(self, chain: Chain) -> None:
        if chain.id in self.busy or self.dead:
            return
        step = chain.next(self.own, self.wall)
        for entry in list(self.waiting):
            if entry[0] is chain and step is None:
                entry[2](False)
        if chain.is_over and self.current is chain:
            self.current = None
        if step is None and chain.id not in self.busy:
            step = chain.next(self.own, self.wall)
        if step is None or chain.id in self.busy:
            return
        self.busy.add(chain.id)
        self.world.maybe_sleep(self)
        self.world.after(0.0, lambda: self.send(chain, step), self)

    def send(self, chain: Chain, step: Step, attempt: int = 1) -> None:
        world, variant = self.world, self.world.setting.variant
        if isinstance(step, Write):
            world.check_bytes(self, step)
        if isinstance(step, Look):
            world.out.reads += 1
            if chain.phase is not Phase.DOUBT:
                world.violate("P11: a list although nothing is in doubt")
        answered = {"is": False}

        def again() -> None:
            if answered["is"]:
                return
            answered["is"] = True
            if variant.gives_up and attempt >= 4 and isinstance(step, Write):
                chain._pending = None
                self.busy.discard(chain.id)
                self.pump(chain)
                return
            pause = min(30.0, 0.5 * 2.0**attempt)
            world.after(pause, lambda: self.send(chain, step, attempt + 1), self)

        def answer(what: Answer | str | tuple[list[Entry], int] | int) -> None:
            if answered["is"]:
                return
            answered["is"] = True
            self.heard()
            if isinstance(what, str):
                if variant.blind_retry and what == "500" and isinstance(step, Write):
                    chain._pending = None
                elif isinstance(step, Write):
                    chain.failed()
                else:
                    answered["is"] = False
                    again()
                    return
            elif isinstance(what, Answer):
                chain.wrote(what)
            elif isinstance(what, tuple):
                chain.listed(*what)
            else:
                chain.marked(what)
            self.busy.discard(chain.id)
            if not chain.is_open and self.current is chain:
                self.current = None
            world.check_lines()
            self.pump(chain)

        world.request(self, step, answer)
        world.after(TIMEOUT, again, self)

    def recover(self) -> None:
        """List, then mend what is dead; three tries for each."""

        def answer(what: object) -> None:
            self.heard()
            assert isinstance(what, tuple)
            own = {chain.id for chain in self.chains if not chain.is_over}
            for write in self.world.repairs_for(what, own, self.boot):
                self.world.maybe_sleep(self)
                self.world.after(0.0, partial(self.mend, write), self)

        self.world.out.reads += 1
        self.world.request(self, Look(0), answer)

    def mend(self, write: Write, attempt: int = 1) -> None:
        state = {"known": False}

        def answer(what: object) -> None:
            state["known"] = True
            self.heard()

        def again() -> None:
            if not state["known"] and attempt < 3:
                self.mend(write, attempt + 1)

        self.world.request(self, write, answer, repair=True)
        self.world.after(TIMEOUT, again, self)

    def tick(self) -> None:
        if self.leaving and all(chain.is_over for chain in self.chains) and not self.waiting:
            self.dead = True
            return
        for chain in self.chains:
            if not chain.is_over:
                self.pump(chain)
        self.world.after(5.0, self.tick, self)

    def leave(self) -> None:
        self.leaving, self.current = True, None
        for chain in self.chains:
            chain.end()
            self.pump(chain)


class World:
    """The run of one seed."""

    def __init__(self, seed: int, setting: Setting) -> None:
        self.dice, self.setting = random.Random(seed), setting
        self.now, self.out, self.stripe = 1_000_000.0, Outcome(), Stripe()
        self.ends = self.now + setting.hours * HOUR
        self._agenda: list[tuple[float, int, Process | None, Callable[[], None]]] = []
        self._order = itertools.count()
        self.processes: list[Process] = []

    # Time.

    def after(self, seconds: float, work: Callable[[], None], process: Process | None = None) -> None:
        heapq.heappush(self._agenda, (self.now + seconds, next(self._order), process, work))

    def run(self) -> Outcome:
        self.buy(self.setting.bought)
        for _ in range(self.dice.randint(2, 4)):
            self.start()
        if self.setting.faults:
            at = self.now
            while (at := at + self.dice.expovariate(1 / HOUR)) < self.ends:
                self.stripe.outages.append((at, at + self.dice.uniform(10, 300)))
        for share in (0.4, 0.7):
            self.after(share * self.setting.hours * HOUR, lambda: self.buy(self.setting.bought // 3))
        self._go(self.ends + 200 * HOUR)
        self._settle()
        return self.out

    def _go(self, until: float) -> None:
        while self._agenda and self._agenda[0][0] <= until:
            at, _, process, work = heapq.heappop(self._agenda)
            self.now = max(self.now, at)
            if process is not None:
                if process.dead:
                    continue
                if self.now < process.paused_until:
                    heapq.heappush(self._agenda, (process.paused_until, next(self._order), process, work))
                    continue
            work()

    def _settle(self) -> None:
        """Everybody has left; two recoveries; the books."""
        if self.setting.policy.returns:
            # A key with a stored failure blocks the repair of its chain for a day.
            self.now += max(25 * HOUR, self.setting.policy.recovery_age + 120)
            for turn in range(2):
                writes = self.repairs_for((self._newest(), int(self.now)), set(), f"end{turn}")
                for write in writes:
                    self.stripe.write(write, self.now, None)
                if turn:
                    self.out.second_recovery = len(writes)
        self.out.credit = -self.stripe.balance
        killed = self.setting.kills and not self.setting.policy.returns
        sums = self.stripe.sums()
        self.out.unfinished = [] if killed else [id for id, (total, used) in sums.items() if total != used]

    # Lives.

    def start(self) -> None:
        process = Process(self, f"b{len(self.processes)}")
        self.processes.append(process)
        for _ in range(3):
            self.after(self.dice.uniform(0, 60), process.live, process)
        self.after(5.0, process.tick, process)
        if self.setting.pauses:
            self.after(self.dice.expovariate(1 / HOUR), lambda: self.sleep_and_again(process), process)
        self.after(self.dice.expovariate(1 / (2 * HOUR)), lambda: self.end(process), process)

    def end(self, process: Process) -> None:
        """A kill, or a clean exit; another process takes its place."""
        if self.now > self.ends or process.leaving:
            return
        if self.setting.kills and self.dice.random() < 0.7:
            self.kill(process)
        else:
            process.leave()
        self.after(self.dice.uniform(1, 60), self.start)

    def kill(self, process: Process) -> None:
        self.out.kills += 1
        self.out.kill_bound += sum(chain.exposure for chain in process.chains if not chain.is_over)
        process.dead = True

    def sleep_and_again(self, process: Process) -> None:
        if self.now < self.ends:
            self.sleep(process)
            self.after(self.dice.expovariate(1 / HOUR), lambda: self.sleep_and_again(process), process)

    def maybe_sleep(self, process: Process) -> None:
        if self.setting.pauses and self.now < self.ends and self.dice.random() < 0.01:
            self.sleep(process)

    def sleep(self, process: Process) -> None:
        """The whole process stands still, perhaps with its clocks."""
        is_long = self.setting.long_pauses and self.dice.random() < 0.08
        most = min(45 * 60.0, self.setting.policy.recovery_age)
        seconds = self.dice.uniform(24, 30) * HOUR if is_long else self.dice.uniform(10, 45 * 60.0)
        if not self.setting.long_pauses:
            seconds = min(seconds, most / 3)
        self.out.pauses += 1
        process.paused_until = max(process.paused_until, self.now + seconds)
        if self.dice.random() < 0.5:
            process.slept += seconds
            process.lag += seconds
        # Whoever is silent for longer than the recovery age looks dead.
        wakes = process.paused_until
        for chain in process.chains:
            if chain.is_over:
                continue
            newest = max((row.created for row in self.stripe.rows if row.chain == chain.id), default=int(self.now))
            if self.setting.policy.returns and wakes - newest > self.setting.policy.recovery_age:
                self.out.pause_bound += chain.exposure

    def buy(self, amount: int) -> None:
        self.out.bought += amount
        self.stripe.buy(amount, self.now)
        for process in self.processes:
            if self.dice.random() < 0.5:
                process.dry_until, process.dry_for = 0.0, 15.0
                if process.current is not None:
                    process.current.granted()

    def call_seconds(self) -> float:
        if self.setting.slow and self.dice.random() < 0.1:
            return self.dice.expovariate(1 / 2000.0)
        return self.dice.expovariate(1 / 3.0)

    # The wire.

    def request(
        self, process: Process, step: Step, answer: Callable[[object], None] | Callable[..., None], repair: bool = False
    ) -> None:
        """Carry one request and its answer, as well as the day lets it."""
        dice, faults = self.dice, self.setting.faults and self.now < self.ends + 2 * HOUR
        there, back = dice.uniform(0.02, 0.3), dice.uniform(0.02, 0.3)
        if faults and any(begin <= self.now <= end for begin, end in self.stripe.outages):
            return
        is_lost = faults and dice.random() < 0.06
        if is_lost and dice.random() < 0.4:
            return
        if is_lost and dice.random() < 0.5:
            there += dice.uniform(0, 20)
        failure = None
        if faults and isinstance(step, Write) and dice.random() < 0.02:
            failure = dice.choice(["500", "500 with effect"])

        def arrive() -> None:
            result = self.execute(step, failure, repair)

            def come_back() -> None:
                if self.now < process.paused_until and dice.random() < 0.5:
                    return  # the socket died meanwhile
                self.after(0.0, lambda: answer(result), process)

            if not is_lost:
                self.after(back, come_back)

        self.after(there, arrive)

    def execute(self, step: Step, failure: str | None, repair: bool) -> object:
        if isinstance(step, Look):
            return self._newest(), int(self.now)
        if isinstance(step, Mark):
            self.out.writes += 1
            self.stripe.mark(step)
            return int(self.now)
        before = len(self.stripe.rows)
        newest = max((row.created for row in self.stripe.rows if row.chain == step.chain), default=0)
        result = self.stripe.write(step, self.now, failure)
        if len(self.stripe.rows) > before:
            self.out.writes += 1
            if repair and self.now - newest < self.setting.policy.recovery_age:
                self.violate("P9: a chain was mended although its owner had just written")
        self.check_books()
        return result

    def _newest(self) -> list[Entry]:
        return list(reversed(self.stripe.rows))

    def repairs_for(self, rows: tuple[list[Entry], int], own: set[str], boot: str) -> list[Write]:
        ledger = Ledger()
        ledger.add(rows[0])
        writes = self.setting.variant.repairs(ledger, rows[1], self.setting.policy.recovery_age, own)
        if not self.setting.variant.eager:
            return writes
        return [Write(w.amount, f"{w.key}:{boot}", w.chain, w.number, w.used, w.description) for w in writes]

    # Properties that hold at every step.

    def violate(self, what: str) -> None:
        self.out.violations.append(what)

    @property
    def slack(self) -> int:
        return self.out.kill_bound + self.out.pause_bound if self.setting.policy.returns else 0

    def check_lines(self) -> None:
        """P1: what may be used is never more than what was bought."""
        permitted = sum(
            chain.limit if chain.is_open else chain.used for process in self.processes for chain in process.chains
        )
        if permitted > self.out.bought + self.slack:
            self.violate(f"P1: {permitted} permitted of {self.out.bought} bought, slack {self.slack}")

    def check_books(self) -> None:
        """P2: what was served is never more than what was bought."""
        over = self.out.served - self.out.bought
        self.out.most_over = max(self.out.most_over, over)
        if over > self.slack:
            self.out.over_bound = max(self.out.over_bound, over - self.slack)
            self.violate(f"P2: {over} served beyond what was bought, slack {self.slack}")

    def check_bytes(self, process: Process, write: Write) -> None:
        """P8: one key, one body; numbers rise; use never falls."""
        if process.bodies.setdefault(write.key, write) != write:
            self.violate("P8: one key with two bodies")
        mine = [body for body in process.bodies.values() if body.chain == write.chain]
        if any(body.number == write.number and body != write for body in mine):
            self.violate("P8: a number twice")
        if any(body.number < write.number and body.used > write.used for body in mine):
            self.violate("P8: use fell")


def run(seed: int, setting: Setting) -> Outcome:
    """One life of a wallet, held against every property; what it breaks is in `violations`."""
    out = World(seed, setting).run()
    returns = setting.policy.returns
    if out.unfinished:
        out.violations.append(f"P3: {len(out.unfinished)} chains whose amounts are not their use")
    if not setting.kills and out.minted:
        out.violations.append(f"P4: {out.minted} minted without a kill")
    if setting.kills and returns and not 0 <= out.minted <= out.kill_bound:
        out.violations.append(f"P5: {out.minted} minted, slices of the killed {out.kill_bound}")
    if setting.kills and not returns and not -out.kill_bound <= out.minted <= 0:
        out.violations.append(f"P6: {-out.minted} lost, slices of the killed {out.kill_bound}")
    if out.second_recovery:
        out.violations.append(f"P10: a second recovery wrote {out.second_recovery} times")
    return out
