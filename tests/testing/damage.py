"""What must hold of a disk on which something is wrong: right answers, or an error that says so.

The one loss that nothing can notice is that of the newest records of the log together with all that tells of them:
no later record, no superblock says that they were stored. told() is what those that are left do say.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lsmcli.engine import constants
from lsmcli.engine.database import Database
from lsmcli.engine.errors import DamageError
from lsmcli.engine.schema import SUPERBLOCK, SUPERBLOCK_COPY_HEAD, WAL_RECORD_HEADER
from tests.testing.acceptance import model_at, states_allowed
from tests.testing.model import State
from tests.testing.operations import Operation, Profile, Run, open_database_on
from tests.testing.pages import Pages
from tests.testing.storage import SimulatedStorage
from tests.testing.trace import Change

SUPERBLOCK_OFFSETS = {constants.superblock_copy_offset(copy) for copy in range(constants.SUPERBLOCK_COPIES)}


class Claim(NamedTuple):
    """A write that calls ops up to `op_synced` stored: a record, or a second copy of a superblock."""

    number: int  # of the change
    change: Change
    op_synced: int


def claims_of(changes: list[Change], uuid: bytes) -> list[Claim]:
    """All of a run, in their order."""
    claims = []
    copies: Counter[int] = Counter()
    for number, change in enumerate(changes):
        if change.kind != "write":
            continue
        if change.offset in SUPERBLOCK_OFFSETS:
            superblock = SUPERBLOCK.unpack(change.data, SUPERBLOCK_COPY_HEAD.size)
            copies[superblock.sequence] += 1
            if copies[superblock.sequence] >= constants.SUPERBLOCK_QUORUM_OPEN:
                claims.append(Claim(number, change, max(superblock.op_checkpoint, superblock.op_synced)))
        elif len(change.data) >= WAL_RECORD_HEADER.size:
            header = WAL_RECORD_HEADER.unpack(change.data)
            if header.uuid == uuid[:8] and header.op_synced <= header.op <= change.op_issued + 1:
                claims.append(Claim(number, change, header.op_synced))
    return claims


def told(claims: list[Claim], end: int, gone: Callable[[Claim], bool]) -> int:
    """The largest op that a claim before change `end` calls stored, of those that are not gone."""
    return max((claim.op_synced for claim in claims if claim.number < end and not gone(claim)), default=0)


def play_image(image: Pages, changes: list[Change]) -> None:
    """Makes changes, all of which reach the disk."""
    for change in changes:
        if change.kind == "write":
            image.write(change.offset, change.data)
        elif change.kind == "truncate" or (change.kind == "allocate" and change.offset > len(image)):
            image.resize(change.offset)


def right_or_damage(
    disk: SimulatedStorage,
    profile: Profile,
    history: list[State],
    op_min: int,
    op_max: int,
    *,
    writable: bool,
    op_known: int = 0,
) -> int:
    """Opens the disk and asks for everything; returns how many questions were answered by a DamageError.

    It must be the state after an op k, op_min <= k <= op_max. A writer also puts, checkpoints and closes.
    What was before op_known the history does not tell: when a state from there is found, nothing more is asked.
    """
    try:
        database = open_database_on(disk, profile, writable=writable)
        op = database.forest.op
        if op_min <= op < op_known:
            return 1
        if writable:
            allowed = [state for _, state in states_allowed(history, op, op_min, op_max)]
        else:
            assert op_min <= op <= op_max, f"op {op} was found, of {op_min} … {op_max}"
            allowed = [history[op].surviving]
        names = set(database.trees())
    except DamageError:
        return 1
    # Two states where the op behind the crash is the end of a scope that opening has discarded as well.
    for state in allowed:
        try:
            damages = _ask_all(database, names, state)
            break
        except AssertionError:
            if state is allowed[-1]:
                raise
    else:
        raise AssertionError("no state is allowed")
    if writable:
        damages += _written(Run(disk, profile, model_at(state, op), database))
    return damages


def _ask_all(database: Database, names: set[str], state: State) -> int:
    """How many questions about this state end with an error."""
    assert names == set(state.trees), f"trees {sorted(names)} were found, not {sorted(state.trees)}"
    damages = 0
    for name, tree in state.trees.items():
        keyspace = database.tree(name)
        damages += _ask(keyspace.scan, tree)
        try:
            assert keyspace.get_many([*tree, b"absent"]) == [*tree.values(), None]
        except DamageError:
            damages += 1
    return damages


def _ask(scan: Callable[[], Iterator[tuple[bytes, bytes]]], tree: dict[bytes, bytes]) -> int:
    """A scan is right to its end, or to where it says that something is damaged."""
    wanted = sorted(tree.items())
    found = []
    try:
        for pair in scan():
            found.append(pair)  # noqa: PERF402  # what came before the error counts
    except DamageError:
        assert found == wanted[: len(found)]
        return 1
    assert found == wanted, f"{set(found) ^ set(wanted)!r:.500}"
    return 0


def _written(run: Run) -> int:
    """Goes on writing; then a reader is asked again."""
    try:
        name = next(iter(run.model.trees))
        run.do(Operation("put", (name, [(b"key 00", b"behind the damage")])))
        run.do(Operation("checkpoint"))
        run.close()
    except DamageError:
        return 1
    model = run.model
    return right_or_damage(run.storage.reopen(), run.profile, model.history, model.op, model.op, writable=False)
