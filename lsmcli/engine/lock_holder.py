"""What the holder of the writer's lock says about itself, in the lock sector of the data file.

Invariants:
- the lock itself is the operating system's; this is a note beside it, for people. It has no checksum,
  is never synced, and may be that of an earlier holder: nothing is decided by it;
- whatever the sector holds, decode() returns text that is safe to print, or nothing.

The lock sector: LockHolder, command line in UTF-8, zeros.
"""

import time
from typing import NamedTuple

from lsmcli.engine import constants, schema
from lsmcli.engine.errors import LockedError


class Writer(NamedTuple):
    """Who holds the writer's lock, as told by itself."""

    pid: int
    since_s: int  # seconds since 1970
    command: str  # cut to LOCK_COMMAND_SIZE_MAX bytes of UTF-8 where it is stored


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def encode(writer: Writer) -> bytes:
    """The whole lock sector, so that nothing of an earlier holder shows behind a shorter command."""
    command = _printable(writer.command).encode()[: schema.LOCK_COMMAND_SIZE_MAX]
    record = schema.LOCK_HOLDER.pack(schema.LockHolder(writer.pid, len(command), writer.since_s))
    return (record + command).ljust(constants.LOCK_SIZE, b"\0")


def decode(sector: bytes) -> Writer | None:
    """What the lock sector says, made safe to print; None when it says nothing that makes sense."""
    if len(sector) < schema.LOCK_HOLDER.size:
        return None
    record = schema.LOCK_HOLDER.unpack(sector)
    if record.pid == 0 or record.command_size > schema.LOCK_COMMAND_SIZE_MAX or record.since_s >= constants.TIME_MAX_S:
        return None
    command = sector[schema.LOCK_HOLDER.size :][: record.command_size]
    return Writer(record.pid, record.since_s, _printable(command.decode(errors="ignore")))


def locked_error(name: str, writer: Writer | None) -> LockedError:
    """The refusal for a second writer; `writer` is who holds the file, None when that is not known."""
    if writer is None:
        return LockedError(f"{name} is being written by another process; try again, or wait with --wait SECONDS")
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(writer.since_s))
    return LockedError(
        f"{name} is being written by process {writer.pid} ({writer.command}) since {since}; "
        "try again, or wait with --wait SECONDS",
        pid=writer.pid,
        command=writer.command,
        since_s=writer.since_s,
    )
