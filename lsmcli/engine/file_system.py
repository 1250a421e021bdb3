"""What kind of file system a path is on: one that other computers share, one that is gone with the power, or a disk.

    36 35 0:52 / /path/to/ada rw,relatime shared:7 - nfs4 server:/home rw,vers=4.2,local_lock=none
                 ^ where                          ^ type            ^ options of the file system

Invariants:
- asking costs one system call where the file system is on a block device of this computer, as most are;
- who cannot tell (no /proc, a line that makes no sense) says None, and nothing is refused for it.

On a network file system locks and caches are those of each computer, or depend on how it is mounted: two writers would
not see each other, and a writer could not know what it has stored. So a writer refuses one unless it is told to.
"""

import os
from typing import Final, NamedTuple

from lsmcli.engine.constants import MIB
from lsmcli.engine.errors import FileError

MOUNTS: Final = "/proc/self/mountinfo"
MOUNTS_SIZE_MAX: Final = MIB

# Anything else that runs as a program (fuse.ntfs-3g, fuse.gocryptfs) is taken for local.
TYPES_NETWORK: Final = frozenset(
    b"nfs nfs4 cifs smb3 smbfs ncpfs afs ceph lustre glusterfs beegfs pvfs2 davfs fuse.sshfs fuse.glusterfs fuse.ceph"
    b" fuse.ceph-fuse fuse.s3fs fuse.gcsfuse fuse.rclone fuse.davfs2 fuse.smbnetfs fuse.juicefs fuse.curlftpfs".split()
)
# 9p is how a virtual machine, or a sandbox, sees a folder of its own computer, unless it comes over one of these.
TYPE_9P: Final = b"9p"
TRANSPORTS_NETWORK: Final = frozenset((b"trans=tcp", b"trans=rdma"))
TYPES_VOLATILE: Final = frozenset((b"tmpfs", b"ramfs"))

_ESCAPES: Final = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\"))
_FIELDS_MIN: Final = 10  # of a line; there may be more before the hyphen


class Mount(NamedTuple):
    """A mounted file system: where it begins, its type, and the options that it was given."""

    point: bytes
    kind: bytes
    options: bytes

    @property
    def name(self) -> str:
        """Its type, for messages."""
        return self.kind.decode("ascii", "replace")

    @property
    def is_network(self) -> bool:
        """Whether other computers may change the same files."""
        if self.kind == TYPE_9P:
            return not TRANSPORTS_NETWORK.isdisjoint(self.options.split(b","))
        return self.kind in TYPES_NETWORK

    @property
    def is_volatile(self) -> bool:
        """Whether its files are in memory, and gone when the computer is switched off."""
        return self.kind in TYPES_VOLATILE


def mount_of(path: bytes, mounts: bytes) -> Mount | None:
    """The file system that a path without links is on, by the lines of /proc/self/mountinfo; of two at one place the
    later one, which covers the other. None when no line says so."""
    found: Mount | None = None
    for line in mounts.splitlines():
        fields = line.split(b" ")
        if len(fields) < _FIELDS_MIN or b"-" not in fields[6:-3]:
            continue
        hyphen = fields.index(b"-", 6)
        point = fields[4]
        for escape, byte in _ESCAPES:
            point = point.replace(escape, byte)
        inside = path == point or path.startswith(point.rstrip(b"/") + b"/")
        if inside and (found is None or len(point) >= len(found.point)):
            found = Mount(point, fields[hyphen + 1], fields[hyphen + 3])
    return found


def mount_at(name: str) -> Mount | None:
    """The file system that a file is on, or would be on. None: a disk of this computer, or there is no telling."""
    try:
        path = name
        if not os.path.exists(path):
            path = os.path.dirname(os.path.realpath(name))
        if on_block_device(path):
            return None
        with open(MOUNTS, "rb") as file:
            return mount_of(os.fsencode(os.path.realpath(name)), file.read(MOUNTS_SIZE_MAX))
    except (OSError, ValueError):
        return None


def on_block_device(path: str) -> bool:
    """Whether the file system of this path has a device of its own. OSError when there is no such path."""
    return os.major(os.stat(path).st_dev) != 0


def require_local(name: str) -> None:
    """FileError when a file is on a network file system, or would be."""
    mount = mount_at(name)
    if mount is not None and mount.is_network:
        raise FileError(
            f"{name} is on a network file system ({mount.name}), where locks and syncs cannot be relied on; keep it on "
            "a disk of this computer or, if no other computer ever opens it, open it with network=True (--network)"
        )
