"""Class 6: records of the log that are rotten, torn, missing, of an earlier lap, of another file, or there twice.

Injects, into each record of a short log, every one of seven fates, with every pattern of syncs between them:

    .  intact    x  a flipped bit    0  zeros    t  its second half is gone
    s  a record of an earlier lap    f  a record of another file    d  the record before it once more

and into rings that have been written around several times, checkpointed, torn by power failures, opened again and
continued with the same ops: rot, zeros, pieces of the ring in another place, an append that was interrupted.

Must hold: the log ends before the first bad record, as a torn tail that is cut, when nothing that is left calls a later
op stored; else opening refuses and names the op. Never a wrong record, never one of a dropped tail, never a silent cut.

Cases: the whole table of four ops, and of three ops with a mark behind them; RINGS rings of up to STEPS steps, each
looked at again and again.
"""

import itertools
import random
from contextlib import suppress
from typing import Final

from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import WalRecordKind
from tests.testing.storage import Crash, SimulatedStorage
from tests.testing.trial import Trial
from tests.testing.wal import OFFSET, Log, Reread, forged

CASES: Final = 40_000
SHARE: Final = 0.35
SLICES: Final = 2

FATES: Final = ".x0tsfd"
OPS_BEFORE: Final = 9  # that a checkpoint has taken into tables
RINGS: Final = 150
STEPS: Final = 120
SPOILT_TIMES: Final = 3  # at each look


def run(trial: Trial) -> None:
    """Some rings, then the table."""
    for number in range(RINGS):
        _ring(trial, trial.rng(f"ring {number}"))
    for synced_after in range(16):
        _table(trial, 4, synced_after, has_mark=False)
    for synced_after in range(8):
        _table(trial, 3, synced_after, has_mark=True)


def _reread(log: Log, disk: SimulatedStorage) -> Reread | DamageError:
    try:
        return log.reread(disk)
    except DamageError as error:
        assert error.zone == "wal"
        assert "\n" not in str(error)
        return error


# The table.


def _table(trial: Trial, ops: int, synced_after: int, *, has_mark: bool) -> None:
    """All fates of the records of one log. synced_after: bit i says that op i + 1 was synced before the next."""
    log = Log(1024)
    for op in range(OPS_BEFORE):
        log.put(b"before %d" % op)
    log.checkpoint()
    told = []  # what each record says is stored
    for index in range(ops):
        told.append(log.wal.op_synced)
        log.put(b"%d" % index * 20)
        if synced_after >> index & 1:
            log.sync()
    if has_mark:
        told.append(log.wal.op_synced)
        log.wal.append(WalRecordKind.MARK)
    places = log.positions()
    assert len(places) == len(told)
    for fates in itertools.product(FATES, repeat=len(told)):
        if trial.begin(f"{''.join(fates)}, synced after {synced_after:b}", sampled=True):
            _judge(trial, log, places, told, fates, ops)


def _judge(
    trial: Trial, log: Log, places: list[tuple[int, int]], told: list[int], fates: tuple[str, ...], ops: int
) -> None:
    disk = log.storage.reopen()
    ops_of = [OPS_BEFORE + min(index + 1, ops) for index in range(len(told))]  # a mark has the op before it
    chain = next((index for index, fate in enumerate(fates) if fate != "."), len(fates))
    op_last = ops_of[chain - 1] if chain else OPS_BEFORE
    left = []  # (op, what it says is stored) of the intact records behind the chain
    for index, fate in enumerate(fates):
        _spoil(log, disk, places, index, fate)
        if index > chain and fate == ".":
            left.append((ops_of[index], told[index]))
        elif index and fate == "d":
            left.append((ops_of[index - 1], told[index - 1]))
    behind = [synced for op, synced in left if op > op_last]
    watermark = max([OPS_BEFORE, *told[:chain], *behind])
    found = _reread(log, disk)
    if watermark > op_last:
        assert isinstance(found, DamageError), f"cut to op {op_last} though op {watermark} was called stored"
        assert f"op {op_last + 1} was acknowledged" in str(found)
        trial.mark("refused")
    else:
        assert isinstance(found, Reread), f"refused: {found}"
        assert (found.tail.op, found.op_synced) == (op_last, watermark)
        assert found.dropped or not behind
        trial.mark("cut" if chain < len(fates) else "whole")


def _spoil(log: Log, disk: SimulatedStorage, places: list[tuple[int, int]], index: int, fate: str) -> None:
    offset, size = places[index]
    if fate == "x":
        disk.flip(8 * (offset + size // 2))
    elif fate == "0":
        disk.corrupt(offset, bytes(size))
    elif fate == "t":
        disk.corrupt(offset + size // 2, bytes(size - size // 2))
    elif fate == "s":
        disk.corrupt(offset, forged(b"stale", checksum_previous=b"of an older lap.", op=3, op_synced=2))
    elif fate == "f":
        disk.corrupt(offset, forged(b"foreign", uuid=b"another!", op=50, op_synced=49))
    elif fate == "d" and index:
        before, size_before = places[index - 1]
        disk.corrupt(offset, log.storage.image.read(before, size_before))
    elif fate == "d":
        disk.corrupt(offset, bytes(size))  # nothing is before the first one


# Rings.


class _Interrupted(SimulatedStorage):
    """Its next write is stored, and then the process is interrupted."""

    interrupt = False

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        super().write(offset, data)
        if self.interrupt:
            self.interrupt = False
            raise Crash


def _body(salt: int, op: int) -> bytes:
    """The same for the same op: after a crash an import is run once more, and gives the same ops again."""
    rng = random.Random(salt * 10_007 + op)
    return b"%d " % op * rng.choice((0, 1, 3, 9, 25))


class _Ring:
    """A log with what was appended to it. Nothing in it depends on which cases are run."""

    def __init__(self, rng: random.Random) -> None:
        self.size = 8 * rng.randrange(48, 200)
        storage = _Interrupted(bytes(OFFSET + self.size))
        self.log = Log(self.size, position=8 * rng.randrange(self.size // 8), storage=storage)
        self.salt = rng.getrandbits(20)
        self.bodies: dict[int, bytes] = {}  # by op
        self.interrupted: dict[int, set[bytes]] = {}  # by op: what was stored and never acknowledged
        self.laps = 0

    def append(self, *, interrupt: bool, rng: random.Random) -> None:
        """The next op, unless it does not fit."""
        log, op = self.log, self.log.wal.op + 1
        body = _body(self.salt, op)
        if not log.wal.fits(len(body)):
            return
        storage, position = log.storage, log.wal.position
        assert isinstance(storage, _Interrupted)
        if interrupt:
            storage.interrupt = True
            body = rng.choice((b"", body))
            self.interrupted.setdefault(op, set()).add(body)
            with suppress(Crash):
                log.put(body)
            storage.interrupt = False
            return
        log.put(body)
        self.bodies[op] = body
        self.laps += log.wal.position < position

    def checkpoint(self, rng: random.Random) -> None:
        """At the tail, or at a record before it."""
        places = [place for place in self.log.reread().places if place.op <= self.log.wal.op]
        self.log.checkpoint(rng.choice(places) if places and rng.random() < 0.5 else None)

    def reopen(self, action: str, rng: random.Random) -> Reread:
        """A new writer finds a beginning of what was written, with all that was synced."""
        log = self.log
        op, op_synced = log.wal.op, log.wal.op_synced
        disk = log.storage.crash(rng) if action == "power" else log.storage.reopen()
        again = _Interrupted(disk.image)
        again.image_synced, again.unsynced = disk.image_synced, disk.unsynced
        found = log.reopen(again)
        op_min = op_synced if action == "power" else op
        assert op_min <= found.tail.op <= op + 1, f"op {found.tail.op} was found, of {op_min} … {op}"
        self.compare(found, op_min)
        self.bodies.update(enumerate(found.bodies, log.start.op + 1))
        return found

    def compare(self, found: Reread, op_sure: int) -> None:
        """Behind op_sure what was interrupted may stand as well."""
        for op, body in enumerate(found.bodies, self.log.start.op + 1):
            allowed = {self.bodies[op]} if op in self.bodies else set()
            if op > op_sure:
                allowed |= self.interrupted.get(op, set())
            assert body in allowed, f"op {op} is {body!r}"


def _ring(trial: Trial, rng: random.Random) -> None:
    ring = _Ring(rng)
    log = ring.log
    for _ in range(STEPS):
        actions = ("put", "sync", "mark", "checkpoint", "power", "kill", "interrupt", "look")
        action = rng.choices(actions, (30, 8, 4, 5, 4, 2, 3, 6))[0]
        if action in ("put", "interrupt"):
            ring.append(interrupt=action == "interrupt", rng=rng)
        elif action == "sync":
            log.sync()
        elif action == "mark":
            log.mark()
        elif action == "checkpoint":
            ring.checkpoint(rng)
        elif action in ("power", "kill"):
            trial.begin(f"{action} at op {log.wal.op}")
            if ring.reopen(action, rng).dropped:
                trial.mark("a torn tail was dropped")
        else:
            for _ in range(SPOILT_TIMES):
                if trial.begin(f"a ring of {ring.size} bytes at op {log.wal.op}", sampled=True):
                    _look(trial, ring, trial.rng_case())
    if ring.laps > 2:
        trial.mark("a ring that went around more than twice")


def _look(trial: Trial, ring: _Ring, rng: random.Random) -> None:
    """The ring as it is, and with some bytes of it spoilt."""
    log = ring.log
    whole = log.reread()
    assert whole.tail.op >= log.wal.op
    ring.compare(whole, log.wal.op)
    disk = log.storage.reopen()
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        _rot(disk, log.size, rng)
    places = log.positions()
    hit = [disk.image.read(*place) != log.storage.image.read(*place) for place in places]
    chain = hit.index(True) if True in hit else len(hit)
    op_last = whole.headers[chain - 1].op if chain else log.start.op
    left = [header.op_synced for header, spoilt in zip(whole.headers, hit, strict=True) if not spoilt]
    found = _reread(log, disk)
    if isinstance(found, DamageError):
        assert True in hit, f"refused, with no live record hit: {found}"
        assert op_last < log.wal.op_synced, f"refused though op {op_last} was all that was synced: {found}"
        trial.mark("refused")
        return
    assert found.bodies == whole.bodies[: len(found.bodies)]
    assert found.tail.op == op_last, f"op {found.tail.op} is the last, not {op_last}"
    assert max([log.op_synced, *left]) <= op_last, "a silent cut"
    trial.mark("cut" if True in hit else "whole")


def _rot(disk: SimulatedStorage, size: int, rng: random.Random) -> None:
    offset = OFFSET + rng.randrange(size)
    source = OFFSET + 8 * rng.randrange(size // 8)
    kind = rng.choice(("flip", "zeros", "noise", "moved"))
    if kind == "flip":
        disk.flip(8 * offset + rng.randrange(8))
        return
    if kind == "moved":
        offset -= offset % 8
    data = {
        "zeros": bytes(rng.choice((1, 16, 72))),
        "noise": rng.randbytes(rng.choice((1, 16, 72))),
        "moved": disk.image.read(source, min(8 * rng.randrange(1, 40), OFFSET + size - source)),
    }[kind]
    disk.corrupt(offset, data[: OFFSET + size - offset])
