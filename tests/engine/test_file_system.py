"""The kind of a file system: whose lines say what, who is refused, and that nobody else is."""

import os
import random
from pathlib import Path

import pytest

import lsmcli
from lsmcli.engine import file_system
from lsmcli.engine.errors import FileError
from lsmcli.engine.file_system import Mount, mount_at, mount_of, require_local

MOUNTS = rb"""22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:40 / /dev/shm rw,nosuid shared:5 - tmpfs tmpfs rw,size=1024k
25 22 0:52 / /path/to/ada rw,relatime shared:7 master:3 - nfs4 server:/export rw,vers=4.2,local_lock=none
26 25 8:17 / /path/to/ada/usb rw - ext4 /dev/sdb1 rw
27 22 0:53 / /path/to/with\040space\134and\011tab rw - cifs //server/share rw,vers=3.0
28 22 0:54 / /usr/shared rw - 9p host rw,trans=virtio,version=9p2000.L
29 22 0:55 / /usr/remote rw - 9p 10.0.0.1 rw,trans=tcp,port=564
30 22 0:56 / /usr/sshfs rw - fuse.sshfs ada@server: rw,user_id=1000
31 22 0:57 / /usr/crypt rw - fuse.gocryptfs /usr/crypt rw
32 22 8:33 / /usr/over rw - ext4 /dev/sdc1 rw
33 32 0:58 / /usr/over rw - nfs server:/over rw
34 22 0:59 / /usr/layers rw - overlay overlay rw,lowerdir=/a:/b,upperdir=/c,workdir=/d
this line makes no sense - at all
35 22 0:60 / /usr/cut rw -
"""


@pytest.mark.parametrize(("path", "kind", "network", "volatile"), [
    ("/", "ext4", False, False), ("/homely", "ext4", False, False), ("/path/to/adam/x", "ext4", False, False),
    ("/dev/shm", "tmpfs", False, True), ("/dev/shm/x.lsm", "tmpfs", False, True),
    ("/path/to/ada", "nfs4", True, False), ("/path/to/ada/x.lsm", "nfs4", True, False),
    ("/path/to/ada/usb/x.lsm", "ext4", False, False),
    ("/path/to/with space\\and\ttab/x", "cifs", True, False), ("/path/to/with", "ext4", False, False),
    ("/usr/shared/x", "9p", False, False), ("/usr/remote/x", "9p", True, False),
    ("/usr/sshfs/x", "fuse.sshfs", True, False), ("/usr/crypt/x", "fuse.gocryptfs", False, False),
    ("/usr/over/x", "nfs", True, False), ("/usr/layers/x", "overlay", False, False),
    ("/usr/cut/x", "ext4", False, False),
])  # fmt: skip
def test_a_path_is_on_the_innermost_and_last_mount(path: str, kind: str, network: bool, volatile: bool) -> None:
    mount = mount_of(path.encode(), MOUNTS)
    assert mount is not None
    assert (mount.name, mount.is_network, mount.is_volatile) == (kind, network, volatile)


def test_no_line_no_answer() -> None:
    assert mount_of(b"/x", b"") is None
    assert mount_of(b"/x", MOUNTS.splitlines(keepends=True)[1]) is None


def test_lines_that_make_no_sense_never_fail(rng: random.Random) -> None:
    for _ in range(2000):
        mounts = bytearray(MOUNTS)
        for _ in range(rng.randrange(1, 30)):
            mounts[rng.randrange(len(mounts))] = rng.choice(b" \n-/\\0\xff")
        found = mount_of(b"/path/to/ada/x.lsm", bytes(mounts))
        assert found is None or isinstance(found, Mount)


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the system calls a network file system."""
    home = tmp_path / "home of ada"
    home.mkdir()
    escaped = os.fsencode(home.resolve()).replace(b" ", b"\\040")
    (tmp_path / "mounts").write_bytes(b"25 22 0:52 / %s rw shared:7 - nfs4 server:/ rw\n" % escaped)
    monkeypatch.setattr(file_system, "MOUNTS", str(tmp_path / "mounts"))
    monkeypatch.setattr(file_system, "on_block_device", lambda path: not os.path.exists(path))
    return home


class TestNetwork:
    def test_a_writer_refuses_and_leaves_nothing(self, on_nfs: Path) -> None:
        path = on_nfs / "users.lsm"
        for flag in ("c", "n", "w"):
            with pytest.raises(FileError, match=r"is on a network file system \(nfs4\)") as caught:
                lsmcli.open(path, flag)
            assert "\n" not in str(caught.value) and "--network" in str(caught.value)
        assert list(on_nfs.iterdir()) == []

    def test_a_writer_that_is_told_to_goes_on_and_a_reader_needs_no_telling(self, on_nfs: Path) -> None:
        path = on_nfs / "users.lsm"
        with lsmcli.open(path, network=True) as database:
            database.put(b"a", b"1")
        with lsmcli.open(path, "r") as database:
            assert database.get(b"a") == b"1"

    def test_a_link_into_it_is_followed(self, on_nfs: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(on_nfs)
        with pytest.raises(FileError, match="network file system"):
            require_local(str(tmp_path / "link" / "users.lsm"))
        require_local(str(tmp_path / "users.lsm"))


class TestNoTelling:
    @pytest.mark.parametrize("name", ["", "a\0b", "/dev/no/such/x.lsm"])
    def test_a_name_of_nothing_is_refused_by_others(self, name: str) -> None:
        require_local(name)

    def test_without_proc_nothing_is_refused(self, on_nfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_system, "MOUNTS", str(on_nfs / "missing"))
        assert mount_at(str(on_nfs / "users.lsm")) is None

    def test_a_disk_of_its_own_is_not_looked_up(self, on_nfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_system, "on_block_device", lambda path: True)
        assert mount_at(str(on_nfs / "users.lsm")) is None

    def test_this_system_answers(self, tmp_path: Path) -> None:
        (tmp_path / "users.lsm").touch()
        assert mount_at(str(tmp_path / "users.lsm")) is None or mount_of(b"/", Path(file_system.MOUNTS).read_bytes())
