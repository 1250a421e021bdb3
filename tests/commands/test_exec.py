"""Scripts: the same commands, line by line, and what a failing line leaves."""

import random
from io import BytesIO
from pathlib import Path

import pytest

from lsmcli.repl.runner import Runner
from lsmcli.repl.words import split, word_text
from lsmcli.session import Session
from tests.testing.command_line import Lsm, process


def test_lines_of_standard_input_are_commands(lsm: Lsm) -> None:
    script = b'# two birds\nput wren \'9 cm\'\n\nput "crane" "1\\n2"  # comment\nscan\n'
    assert lsm(stdin=script) == (0, b'crane\t"1\\n2"\nwren\t9 cm\n', "")
    assert lsm("exec", stdin=b"get wren\nexists wren") == (0, b"9 cm\n", "")
    assert lsm("exec", "-", stdin=b"GET wren\nset a 1\nkeys a\n.tables\n") == (0, b"9 cm\na\nmain\n", "")


def test_a_script_that_says_nothing_makes_no_file(lsm: Lsm) -> None:
    assert lsm(stdin=b"\n# nothing\n") == (0, b"", "")
    assert not lsm.path.exists()


def test_a_script_from_a_file(lsm: Lsm) -> None:
    Path("s").write_bytes(b"put a 1\r\nget a\r\n")
    assert lsm("exec", "s") == (0, b"1\n", "")
    assert "no such file" in lsm.fails(5, "exec", "missing")


def test_the_first_failing_line_ends_it_and_the_lines_before_stay(lsm: Lsm) -> None:
    Path("s").write_bytes(b"put a 1\nput b 2\n  put c\nput d 4\n")
    assert lsm("exec", "s") == (2, b"", "s:3:7: no value for the key 'c' (see put --help)\n")
    assert lsm.ok("scan") == b"a\t1\nb\t2\n"


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (b"gte a", 2, "1:1: no command 'gte': did you mean get or tree?"),
        (b'put "a', 6, "1:5: a double quote is not closed"),
        (b'put "a"b', 6, "1:8: a closing quote is followed by white space"),
        (b"put a hex:0g", 2, "1:7: 'g' is not a hex digit, at offset 5 of 'hex:0g' (see put --help)"),
        (b"scan --prefx a", 2, "1:6: No such option '--prefx'"),
        (b"put '' 1", 8, "1:1: the key is empty"),
        (b"put a -", 5, "1:1: t.lsm: there is no standard input here"),
        (b"exists zz", 1, "1:1: exit code 1"),
        (b"use other", 2, "1:5: there is no tree 'other'"),
        (b"delete --prefix a", 2, "1:1: Delete 1 entry? Add --yes"),
        (b"put a - <<END\nx\n", 6, "1:14: the here-document has no end"),
        (b"import rows.tsv", 6, "1:1: rows.tsv:2:2: no tab between key and value"),
        (b"put a \\", 6, "1:7: the line goes on"),
    ],
)
def test_messages_say_where(lsm: Lsm, line: bytes, code: int, message: str) -> None:
    lsm.ok("put", "a", "1")
    Path("rows.tsv").write_bytes(b"a\t1\nb\n")
    result = lsm(stdin=line)
    assert result.code == code, result
    assert result.err.splitlines()[-1].startswith(f"standard input:{message}"), result


def test_keep_going_runs_all_and_returns_the_first_failure(lsm: Lsm) -> None:
    result = lsm("exec", "--keep-going", stdin=b"put a 1\nput '' 1\nget zz\nput b 2\nput '\nput c 3\n")
    assert result.code == 8
    assert [line.split(":")[1] for line in result.err.splitlines() if line.startswith("standard")] == ["2", "3", "5"]
    assert lsm.ok("scan", "--keys-only") == b"a\nb\nc\n"


def test_atomic_keeps_all_or_nothing(lsm: Lsm) -> None:
    lsm.ok("put", "a", "before")
    assert lsm("exec", "--atomic", stdin=b"put a 1\nput b 2\nget a\nget --committed a\nput\n").code == 2
    assert lsm.ok("scan") == b"a\tbefore\n"
    assert lsm("exec", "--atomic", "--keep-going", stdin=b"put a 1\nget zz\nput b 2\n").code == 1
    assert lsm.ok("scan") == b"a\tbefore\n"
    result = lsm("exec", "--atomic", stdin=b"put a 1\nput b 2\nget a\nget --committed a\n")
    assert (result.code, result.out) == (0, b"1\nbefore\n")
    assert lsm.ok("scan") == b"a\t1\nb\t2\n"


def test_scopes_in_scripts(lsm: Lsm) -> None:
    assert lsm(stdin=b"put a 1\nscope begin\nput a 2\nput b 2\nscope discard\nput c 3\n").code == 0
    assert lsm.ok("scan") == b"a\t1\nc\t3\n"
    for line in (b"scope begin", b"scope persist", b"scope discard", b"exec --atomic s"):
        Path("s").write_bytes(b"put x 1\n")
        result = lsm("exec", "--atomic", stdin=b"put b 2\n" + line + b"\n")
        assert result.code == 2
        assert "--atomic" in result.err
    lsm.ok("scope", "begin")
    assert "scope" in lsm("exec", "--atomic", stdin=b"put b 2\n").err
    lsm.ok("scope", "discard")
    assert lsm.ok("scan", "--keys-only") == b"a\nc\n"


def test_here_documents_files_and_redirections(lsm: Lsm) -> None:
    Path("v").write_bytes(b"\x00\xff")
    script = b"put a - <<END\nhex:x\n  # no comment\nEND\nput b @v\nget --raw a > out\nget b >> out\n"
    script += b"scan --keys-only | sort -r\n"
    script += b"import - <<E\nc\t3\nE\nget c\n"
    done = process("t.lsm", stdin=script)
    assert (done.returncode, done.stdout) == (0, b"b\na\n3\n"), done
    assert Path("out").read_bytes() == b'hex:x\n  # no comment\n"\\x00\\xff"\n'
    assert process("t.lsm", stdin=b"scan | exit 3").returncode == 3
    assert process("t.lsm", stdin=b"scan | head -1 >&2").returncode == 0
    assert "is the data file itself" in lsm(stdin=b"scan > t.lsm").err


def test_safe_forbids_what_reaches_outside(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    Path("f").write_bytes(b"put c 3\n")
    for line in ("scan > g", "scan >> g", "scan | cat", "put b @f", "import f", "export g", "exec f"):
        result = lsm.run("--safe", "t.lsm", "exec", stdin=line.encode())
        assert result.code == 2, line
        assert "--safe" in result.err
    assert not Path("g").exists()
    result = lsm.run("--safe", "t.lsm", stdin=b"put -L c @f\nimport - <<E\nd\t4\nE\nexport\n")
    assert (result.code, result.out) == (0, b"a\t1\nc\t@f\nd\t4\n")


def test_echo_sync_exit_and_scripts_in_scripts(lsm: Lsm) -> None:
    Path("inner").write_bytes(b"put b 2\nget zz\n")
    assert lsm("exec", "--echo", stdin=b"put a 1\nsync\nget a\n") == (0, b"1\n", "put a 1\nsync\nget a\n")
    assert lsm(stdin=b"get a\nexit 7\nget a\n") == (7, b"1\n", "")
    result = lsm(stdin=b"exec inner\nput c 3\n")
    assert (result.code, result.err) == (1, "not found: zz\ninner:2:1: exit code 1\n")
    Path("self").write_bytes(b"exec self\n")
    assert "does self run itself" in lsm("exec", "self").err


def test_trees_in_scripts(lsm: Lsm) -> None:
    assert lsm(stdin=b"tree create t\nuse t\nput a 1\nput -t main a 2\nscan\nuse main\nscan\n").out == b"a\t1\na\t2\n"


def test_a_script_writes_in_one_go_and_reads_what_others_wrote(lsm: Lsm) -> None:
    script = b"".join(b"put k%d v%d\n" % (number, number) for number in range(2000)) + b"get k1999\nput k1 x\nget k1\n"
    assert lsm(stdin=script).out == b"v1999\nx\n"
    assert lsm.ok("count") == b"2000\n"


def test_a_bad_line_among_many(lsm: Lsm) -> None:
    lines = [b"put k%d v\n" % number for number in range(1500)]
    lines[1200] = b"put " + b"k" * 5000 + b" v\n"
    result = lsm(stdin=b"".join(lines))
    assert result.code == 8
    assert result.err.startswith("standard input:1201:1: the key has 5000 bytes")
    assert lsm.ok("count") == b"1200\n"
    assert lsm("exec", "--atomic", stdin=b"".join(lines).replace(b"put k", b"put x")).code == 8
    assert lsm.ok("count") == b"1200\n"


def test_read_only_scripts(lsm: Lsm) -> None:
    lsm.ok("put", "a", "1")
    result = lsm.run("--read-only", "t.lsm", stdin=b"get a\nput b 1\nput c 2\n")
    assert (result.code, result.out) == (5, b"1\n")
    assert result.err.startswith("standard input:2:1: t.lsm: this command writes")


WORDS = [
    b"a",
    b"b",
    b"hex:00ff",
    b"hex:0",
    b"u64be:7",
    b"raw:hex:1",
    b"",
    b"x y",
    b"\xff\x00",
    b"k" * 5000,
    "é".encode(),
]
WORDS += [b"--", b"-L", b"-x", b"@v", b"@missing", b"b64:!", b"--json", b"-t", b"main", b"user:1", b"#", b"|"]


def test_the_short_way_does_what_click_does(lsm: Lsm, capsys: pytest.CaptureFixture[str]) -> None:
    Path("v").write_bytes(b"of a file")
    rng = random.Random(3)
    runners = [Runner(Session(path, out=BytesIO())) for path in ("short.lsm", "click.lsm")]
    runners[1].has_plain_forms = False
    runners[0].session.database(write=True)
    runners[1].session.database(write=True)
    for _ in range(1500):
        words = [rng.choice([b"put", b"get", b"delete", b"exists"])]
        words += [rng.choice(WORDS[: rng.choice([2, 11, len(WORDS)])]) for _ in range(rng.randrange(5))]
        line = split(b" ".join(map(word_text, words)))
        results = []
        for runner in runners:
            try:
                code: object = runner.run(line)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must be the same
                code = (type(error), str(error).replace("click.lsm", "short.lsm"))
            results.append((code, capsys.readouterr()))
        assert results[0] == results[1], line
    for runner in runners:
        runner.session.close()
    outs = [runner.session.out.getvalue() for runner in runners]  # type: ignore[attr-defined]
    assert outs[0] == outs[1]
    assert len(outs[0]) > 500
    assert lsm.run("short.lsm", "export").out == lsm.run("click.lsm", "export").out


def test_puts_behind_two_dashes_mean_what_they_mean_one_by_one_and_are_stored_together(lsm: Lsm) -> None:
    lines = ["put a 1", "put -- b 2", "put -- -c -3", "put -- -- --", "put -- e f g h", "put -- i @absent", "put -- j"]
    script = "\n".join(lines).encode() + b"\n"
    assert lsm("exec", "--keep-going", stdin=script).code == 5
    assert lsm.ok("scan") == b"--\t--\n-c\t-3\na\t1\nb\t2\ne\tf\ng\th\n"
    before = int(lsm.ok("stats", "--json").split(b'"op": ')[1].split(b",")[0])
    lsm.ok("exec", stdin=b"".join(b"put -- k%d v\n" % i for i in range(100)))
    assert int(lsm.ok("stats", "--json").split(b'"op": ')[1].split(b",")[0]) == before + 1
