"""The checksum of contents: as its definition says, whatever the chunks and whatever the way of storing."""

import random
from pathlib import Path
from struct import pack

import xxhash

import lsmcli
from lsmcli.engine.content_checksum import ContentChecksum, checksum_of_file
from lsmcli.engine.contents import contents_of

Pairs = list[tuple[bytes, bytes]]


def by_definition(pairs: Pairs) -> bytes:
    """The four streams of the module's docstring, one after the other."""
    streams = (
        b"".join(pack("<I", len(key)) for key, _ in pairs),
        b"".join(key for key, _ in pairs),
        b"".join(pack("<I", len(value)) for _, value in pairs),
        b"".join(value for _, value in pairs),
    )
    return xxhash.xxh3_128_digest(b"".join(map(xxhash.xxh3_128_digest, streams)))


def added(pairs: Pairs, cuts: list[int]) -> ContentChecksum:
    checksum = ContentChecksum()
    for begin, end in zip([0, *cuts], [*cuts, len(pairs)], strict=True):
        checksum.add([key for key, _ in pairs[begin:end]], [value for _, value in pairs[begin:end]])
    return checksum


def test_it_is_what_the_definition_says_however_it_is_cut(rng: random.Random) -> None:
    for _ in range(200):
        pairs = sorted({rng.randbytes(rng.randint(1, 4)): rng.randbytes(rng.randint(0, 9)) for _ in range(20)}.items())
        cuts = sorted(rng.choices(range(len(pairs) + 1), k=rng.randint(0, 5)))
        checksum = added(pairs, cuts)
        assert checksum.digest() == by_definition(pairs)
        assert (checksum.entries, checksum.size) == (len(pairs), sum(len(key) + len(value) for key, value in pairs))


def test_the_example_of_the_docs_and_nothing_at_all() -> None:
    assert added([(b"a", b"1"), (b"bc", b"")], []).digest().hex() == "cfa24011aa7d3092b545663317cb7d41"
    assert ContentChecksum().digest() == by_definition([])


def test_no_two_contents_are_mixed_up() -> None:
    alike: list[Pairs] = [
        [],
        [(b"a", b"")],
        [(b"a", b"b")],
        [(b"ab", b"")],
        [(b"a", b""), (b"b", b"")],
        [(b"a", b"b"), (b"c", b"")],
        [(b"a", b""), (b"c", b"b")],
        [(b"a", b""), (b"bc", b"")],
        [(b"a", b"bc")],
        [(b"\0", b"")],
        [(b"\0", b"\0")],
    ]
    assert len({added(pairs, []).digest() for pairs in alike}) == len(alike)


def test_a_large_value_in_pieces_counts_as_the_value() -> None:
    checksum = ContentChecksum()
    checksum.add([b"a"], [b"1"])
    checksum.add_large(b"b", 5, [b"he", b"", memoryview(b"llo")])
    checksum.add([b"c"], [b"3"])
    assert checksum.digest() == by_definition([(b"a", b"1"), (b"b", b"hello"), (b"c", b"3")])
    assert (checksum.entries, checksum.size) == (3, 10)


def test_names_and_order_of_trees_count(rng: random.Random) -> None:
    trees = [("main", rng.randbytes(16)), ("Zoo", rng.randbytes(16)), ("\u00e4", rng.randbytes(16))]
    whole = checksum_of_file(trees)
    assert whole == checksum_of_file(trees[::-1])
    streams = [("Zoo", trees[1][1]), ("main", trees[0][1]), ("\u00e4", trees[2][1])]
    assert whole == xxhash.xxh3_128_digest(
        b"".join(pack("<I", len(name.encode())) + name.encode() + digest for name, digest in streams)
    )
    assert whole != checksum_of_file([("main2", trees[0][1]), *trees[1:]])
    assert whole != checksum_of_file(trees[:2])


def test_files_of_other_shape_and_equal_contents(tmp_path: Path, rng: random.Random) -> None:
    """Block size, order of writing, overwriting, deleting, compaction, large values: nothing of it shows."""
    model = {b"%d" % rng.randrange(10**6): rng.randbytes(rng.randint(0, 50)) for _ in range(800)}
    model |= {b"large %d" % i: rng.randbytes(rng.randint(20_000, 200_000)) for i in range(5)}
    found = set()
    for block_size, memory_size, compacts in ((4096, 1 << 16, True), (32768, 1 << 20, False), (65536, 1 << 18, True)):
        path = tmp_path / f"{block_size}.lsm"
        with lsmcli.open(path, block_size=block_size, memory_size=memory_size) as database:
            pairs = list(model.items())
            rng.shuffle(pairs)
            for key, value in pairs:
                if rng.random() < 0.1:
                    database.put(key, b"other" * 3000)
                    database.put(key + b"x", b"gone")
                database.put(key, value)
            for key, _ in pairs:
                database.delete(key + b"x")
            if compacts:
                database.compact()
            (contents,) = contents_of(database, ["main"])
            found.add(contents.checksum().digest())
            (contents,) = contents_of(database, ["main"])
            chunks = list(contents.chunks())
            assert [pair for chunk in chunks for pair in zip(*chunk, strict=True)] == sorted(model.items())
            assert max(sum(map(len, values)) for _, values in chunks) < 600_000
    assert found == {by_definition(sorted(model.items()))}
