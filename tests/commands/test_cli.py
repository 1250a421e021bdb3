"""The grammar, the exit codes and the edges of the process."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lsmcli
from lsmcli import cli
from lsmcli.engine import errors
from lsmcli.formats import InputError
from tests.testing.command_line import Lsm, process

READING = [
    ["get", "a"],
    ["exists", "a"],
    ["scan"],
    ["count"],
    ["export"],
    ["tree", "list"],
    ["scope", "status"],
    ["stats"],
    ["inspect-levels"],
    ["verify"],
    ["inspect", "superblock"],
    ["delete", "--prefix", "a", "--dry-run"],
]
WRITING = [
    ["put", "a", "1"],
    ["delete", "a"],
    ["import"],
    ["scope", "begin"],
    ["tree", "create", "x"],
    ["compact"],
]


# --- the grammar ---------------------------------------------------------------------------------------------------


def test_every_command_has_help_with_examples(lsm: Lsm) -> None:
    listing = lsm.run("--help")
    assert listing.code == 0
    for name in cli.COMMANDS:
        assert f"\n  {name} ".encode() in listing.out
        for words in ([str(lsm.path), name, "-h"], [str(lsm.path), name, "--help"], [name, "--help"]):
            result = lsm.run(*words)
            assert result.code == 0, result
            assert result.out.startswith(f"Usage: lsmcli FILE {name}".encode())
            assert b"\nExamples:\n  lsmcli " in result.out
            assert b"-h, --help" in result.out
    assert not lsm.path.exists()


@pytest.mark.parametrize("group", ["scope", "tree", "inspect"])
def test_every_part_of_a_group_has_help_with_examples(lsm: Lsm, group: str) -> None:
    command = cli.root.get_command(None, group)  # type: ignore[arg-type]
    for name in command.commands:  # type: ignore[union-attr]
        out = lsm.ok(group, name, "--help")
        assert b"\nExamples:\n  lsmcli my.lsm " + group.encode() in out
    assert "Missing command" in lsm.fails(2, group)


def test_the_listed_help_is_that_of_the_command() -> None:
    for name in cli.COMMANDS:
        command = cli.root.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert command.name == name


def test_a_typo_gets_a_suggestion(lsm: Lsm) -> None:
    assert "did you mean get" in lsm.fails(2, "gte", "a")
    assert "did you mean discard?" in lsm.fails(2, "scope", "discrad")
    assert "--prefix" in lsm.fails(2, "scan", "--prefx", "a")
    assert "one of put, get" in lsm.fails(2, "xyzzy")


def test_a_command_line_without_file_says_how_to_write_it(lsm: Lsm) -> None:
    for words in (["put", "k", "v"], ["put"], ["get", "k"], ["scan"], ["scope", "begin"]):
        result = lsm.run(*words)
        assert result.code == 2
        assert f"FILE is missing before the command: lsmcli FILE {' '.join(words)}" in result.err
    assert os.listdir() == []


def test_a_file_may_have_the_name_of_a_command(lsm: Lsm) -> None:
    assert lsm.run("./get", "put", "a", "1").code == 0
    assert lsm.run("get", "get", "a").out == b"1\n"


def test_no_command_prints_the_commands_on_standard_error(lsm: Lsm) -> None:
    for words in ([], ["-q"]):
        result = lsm.run(*words)
        assert (result.code, result.out) == (2, b"")
        assert "Commands:\n  put " in result.err
    assert os.listdir() == []


def test_options_in_the_wrong_place(lsm: Lsm) -> None:
    assert "before FILE" in lsm.fails(2, "-q", "scan")
    assert lsm.run("t.lsm", "--help").code == 0
    assert "not a number of seconds" in lsm.run("--wait", "x", "t.lsm", "scan").err
    assert lsm.run("--wait", "0.5s", "t.lsm", "put", "a", "1").code == 0


def test_version(lsm: Lsm) -> None:
    lines = lsm.run("--version").out.decode().splitlines()
    assert lines[0] == f"lsmcli {lsmcli.__version__}"
    assert lines[1].startswith(f"engine {lsmcli.__version__}, ")
    assert lines[2].startswith("file format 1, reads 1 to 1")
    assert lines[3].startswith("cpython 3.")


def test_options_can_be_set_in_the_environment(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    lsm.ok("put", "a", "1")
    monkeypatch.setenv("LSMCLI_COLOR", "always")
    assert b"\x1b" in lsm.ok("scan")
    monkeypatch.setenv("LSMCLI_NO_COLOR", "1")
    monkeypatch.setenv("LSMCLI_WAIT", "1.5s")
    monkeypatch.setenv("LSMCLI_VERSION", "no flag of ours")
    assert lsm.ok("scan") == b"a\t1\n"
    monkeypatch.setenv("LSMCLI_READ_ONLY", "1")
    lsm.fails(5, "put", "a", "1")


def test_quiet_and_verbose(lsm: Lsm) -> None:
    assert lsm("scope", "begin").err != ""
    assert lsm.run("-q", "t.lsm", "scope", "discard").err == ""
    assert lsm.run("-v", "t.lsm", "count").err.endswith(" ms\n")


# --- exit codes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LimitError("x"), 8),
        (errors.ScopeError("x"), 2),
        (errors.TreeError("x"), 2),
        (errors.ClosedError("x"), 2),
        (errors.LockedError("x"), 3),
        (errors.SnapshotTooOldError("x"), 3),
        (errors.DamageError("x", zone="value", address=1), 4),
        (errors.FileError("x"), 5),
        (errors.NoSpaceError("x"), 5),
        (errors.ReadOnlyError("x"), 5),
        (errors.OutcomeUnknownError("x"), 5),
        (errors.FormatError("x"), 7),
        (errors.NewerFormatError("x"), 7),
        (InputError("x", line=1), 6),
        (OSError(28, "No space left on device"), 5),
        (BrokenPipeError(32, "Broken pipe"), 141),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 70),
        (AssertionError("x"), 70),
    ],
    ids=lambda item: type(item).__name__ if isinstance(item, BaseException) else str(item),
)
def test_every_error_has_its_exit_code_and_one_line(
    lsm: Lsm, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    lsm.ok("put", "a", "1")

    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("lsmcli.engine.keyspace.Keyspace.get", fail)
    result = lsm("get", "a")
    assert (result.code, result.out) == (code, b"")
    assert len(result.err.splitlines()) == (0 if code in (130, 141) else 1)
    assert "Traceback" not in result.err


def test_every_error_of_the_engine_has_a_code_of_its_own_choice() -> None:
    def kinds(kind: type[errors.LsmError]) -> set[type[errors.LsmError]]:
        return {kind}.union(*(kinds(below) for below in kind.__subclasses__()))

    chosen = tuple(kind for kind, code in cli.EXIT_CODES if code != cli.EXIT_INTERNAL)
    assert [kind for kind in kinds(errors.LsmError) - {errors.LsmError} if not issubclass(kind, chosen)] == []


def test_a_traceback_only_when_it_is_asked_for(lsm: Lsm, monkeypatch: pytest.MonkeyPatch) -> None:
    lsm.ok("put", "a", "1")
    monkeypatch.setattr("lsmcli.engine.keyspace.Keyspace.get", lambda *args: 1 / 0)
    assert "internal error, ZeroDivisionError" in lsm.fails(70, "get", "a")
    monkeypatch.setenv("LSMCLI_DEBUG", "1")
    assert "Traceback" in lsm("get", "a").err


@pytest.mark.parametrize("words", [*READING, *WRITING], ids=" ".join)
def test_what_is_no_data_file_is_refused_and_stays_as_it_is(lsm: Lsm, words: list[str]) -> None:
    files = {
        "empty.lsm": b"",
        "text.lsm": b"just text\n" * 5,
        "zeros.lsm": bytes(1 << 20),
        "sqlite.lsm": b"SQLite format 3\0" + bytes(8192),
    }
    for name, data in files.items():
        Path(name).write_bytes(data)
        result = lsm.run(name, *words, stdin=b"a\t1\n")
        assert Path(name).read_bytes() == data, name
        if words[0] == "inspect":
            continue  # shows what is there, whatever that is
        assert result.code in (4, 7), (name, result)
        assert result.err.startswith(f"Error: {name}") or words == ["verify"], (name, result)
    assert sorted(os.listdir()) == sorted(files)


@pytest.mark.parametrize("words", [*READING, *WRITING], ids=" ".join)
def test_a_directory_is_refused(lsm: Lsm, words: list[str]) -> None:
    Path("folder").mkdir()
    result = lsm.run("folder", *words, stdin=b"a\t1\n")
    assert result.code == 5, result
    assert os.listdir() == ["folder"]
    assert os.listdir("folder") == []


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_reading_changes_not_one_byte_and_makes_no_file(lsm: Lsm, words: list[str]) -> None:
    assert "no such file" in lsm.fails(5, *words)
    assert os.listdir() == []
    lsm.ok("put", "a", "1")
    before = (lsm.path.read_bytes(), lsm.path.stat().st_mtime_ns)
    lsm.ok(*words)
    assert lsm.run("--read-only", "t.lsm", *words).code == 0
    assert (lsm.path.read_bytes(), lsm.path.stat().st_mtime_ns) == before
    assert os.listdir() == ["t.lsm"]


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_read_only_refuses_what_writes(lsm: Lsm, words: list[str]) -> None:
    lsm.ok("put", "a", "1")
    before = lsm.path.read_bytes()
    result = lsm.run("--read-only", "t.lsm", *words, stdin=b"a\t2\n")
    assert result.code == 5
    assert "--read-only" in result.err
    assert lsm.path.read_bytes() == before


def test_who_may_create_the_file(lsm: Lsm) -> None:
    for words in (
        ["delete", "a"],
        ["compact"],
        ["scope", "persist"],
        ["scope", "discard"],
        ["tree", "drop", "x", "-y"],
    ):
        assert "no such file" in lsm.fails(5, *words)
        assert os.listdir() == []
    for words in (["put", "a", "1"], ["import"], ["scope", "begin"], ["tree", "create", "x"]):
        lsm.ok(*words)
        lsm.path.unlink()


def test_a_truncated_file_is_never_empty_data(lsm: Lsm) -> None:
    lsm.ok("import", stdin=b"".join(b"%06d\tvalue\n" % number for number in range(5000)))
    lsm.ok("compact")
    data = lsm.path.read_bytes()
    for size in (1, 4096, 100_000, len(data) // 2, len(data) - 4096):
        Path("short").write_bytes(data[:size])
        result = lsm.run("short", "scan")
        assert result.code in (4, 7), (size, result.code, result.err)
        assert Path("short").read_bytes() == data[:size]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    lsm.path.chmod(0o400)
    assert lsm.ok("get", "a") == b"1\n"
    lsm.fails(5, "put", "a", "2")
    lsm.path.chmod(0)
    lsm.fails(5, "get", "a")


def test_control_characters_in_messages_are_escaped(lsm: Lsm) -> None:
    result = lsm.run("no\x1b[31m\nfile", "get", "a")
    assert result.code == 5
    assert "\x1b" not in result.err
    assert len(result.err.splitlines()) == 1
    assert "\x1b" not in lsm.run("t.lsm", "p\x1bt").err


# --- processes -------------------------------------------------------------------------------------------------------


def test_the_process_returns_the_code(lsm: Lsm) -> None:
    assert process("t.lsm", "put", "a", "1").returncode == 0
    done = process("t.lsm", "get", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
    assert process("t.lsm", "get", "b").returncode == 1


def test_a_full_output_device_is_a_failure(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    with open("/dev/full", "wb") as full:
        for words in (["get", "a"], ["scan"], ["count"], ["--help"]):
            done = process("t.lsm", *words, stdout=full)
            assert (done.returncode, done.stderr) == (5, b"Error: standard output: no space left on device\n")


def test_a_write_on_a_full_disk_leaves_the_file_as_it_was(lsm: Lsm, tmp_path: Path) -> None:
    lsm.ok("put", "a", "1")
    before = (tmp_path / "t.lsm").read_bytes()
    (tmp_path / "large").write_bytes(bytes(1_000_000))

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), len(before)))

    done = process("t.lsm", "put", "b", "@large", preexec_fn=full)
    assert (done.returncode, done.stderr.count(b"\n")) == (5, 1)
    assert b"no space left" in done.stderr
    assert (tmp_path / "t.lsm").read_bytes() == before
    assert lsm.ok("get", "a") == b"1\n"


def test_a_closed_pipe_is_silent(lsm: Lsm) -> None:
    lsm.ok("import", stdin=b"".join(b"%06d\tvalue\n" % number for number in range(30_000)))
    child = subprocess.Popen(
        [sys.executable, "-m", "lsmcli", "t.lsm", "scan"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.readline() == b"000000\tvalue\n"
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(10) == 141


def test_an_interrupt_is_130_and_the_import_leaves_nothing(lsm: Lsm) -> None:
    lsm.ok("put", "a", "before")
    child = subprocess.Popen(
        [sys.executable, "-m", "lsmcli", "t.lsm", "import"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdin is not None and child.stderr is not None
    child.stdin.write(b"k\tv\n")
    child.stdin.flush()
    time.sleep(0.7)
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 130
    assert child.stderr.read().endswith(b"\ninterrupted: nothing was imported\n")
    child.stdin.close()
    child.stderr.close()
    assert lsm.ok("scan") == b"a\tbefore\n"


def test_a_second_writer_is_told_who_holds_the_file(lsm: Lsm) -> None:
    with lsmcli.open("t.lsm") as db:
        db.put(b"a", b"1")
        done = process("--wait", "0", "t.lsm", "put", "a", "2")
        assert done.returncode == 3
        assert str(os.getpid()).encode() in done.stderr
        assert process("--wait", "0.2", "t.lsm", "put", "a", "2").returncode == 3
        assert process("t.lsm", "get", "a").stdout == b"1\n"


def test_a_closed_standard_output_is_an_error(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    done = process("t.lsm", "get", "a", stdout=None, preexec_fn=lambda: os.close(1))
    assert done.returncode == 5
    assert b"standard output is closed" in done.stderr


# --- the cost of starting ---------------------------------------------------------------------------------------------


def modules_of_one_get(main: str) -> set[str]:
    """What a process has imported when it has run a get of a key that is there."""
    program = f"import sys; {main}(['t.lsm', 'get', 'a']); print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(lsmcli.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
    value, modules = done.stdout.decode().split("\n", 1)
    assert value == "1"
    return set(modules.split())


HEAVY = set("json tabulate argparse dataclasses asyncio logging tempfile prompt_toolkit importlib.metadata".split())


def test_a_one_shot_get_imports_nothing_heavy(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    modules = modules_of_one_get("from lsmcli.cli import main; main")
    assert HEAVY.intersection(modules) == set()
    assert "lsmcli.repl" not in modules
    commands = [name for name in modules if name.startswith("lsmcli.commands.")]
    assert sorted(commands) == [f"lsmcli.commands.{name}" for name in ("arguments", "encoding", "get", "group")]


def test_a_one_shot_get_without_an_option_does_without_click(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    modules = modules_of_one_get("from lsmcli.one_get import one_get; one_get")
    assert {*HEAVY, "click", "inspect", "pathlib", "lsmcli.cli"}.intersection(modules) == set()
    assert [name for name in modules if name.startswith("lsmcli.commands.")] == ["lsmcli.commands.encoding"]
    assert not [name for name in modules if name.startswith("lsmcli.engine.compaction") and "context" not in name]


def test_a_script_imports_no_terminal(lsm: Lsm) -> None:
    program = "import sys; from lsmcli.cli import main; main(['t.lsm']); print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(lsmcli.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"put a 1\nget a\n", capture_output=True, check=True, env=environment
    )
    value, modules = done.stdout.decode().split("\n", 1)
    assert value == "1"
    assert {"prompt_toolkit", "tomllib", "json", "tabulate", "asyncio"}.intersection(modules.split()) == set()
