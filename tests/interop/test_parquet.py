"""pyarrow and DuckDB read what we export, and we import what they write."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.interop.conftest import BINARY, Ours, Pairs, many

ModuleOf = Callable[[str], ModuleType]

EVERY = pytest.mark.parametrize("pairs", [BINARY, many(5_000)], ids=["awkward", "many"])


def columns(pairs: Pairs) -> dict[str, list[bytes]]:
    return {"key": [key for key, _ in pairs], "value": [value for _, value in pairs]}


@EVERY
def test_pyarrow_and_we_agree_on_parquet(module: ModuleOf, ours: Ours, pairs: Pairs, tmp_path: Path) -> None:
    arrow, parquet = module("pyarrow"), module("pyarrow.parquet")
    assert parquet.read_table(ours.export(pairs, "ours.parquet", name="parquet")).to_pydict() == columns(pairs)
    parquet.write_table(arrow.table(columns(pairs)), tmp_path / "their.parquet", compression="zstd", row_group_size=100)
    assert ours.imported(tmp_path / "their.parquet", name="parquet") == pairs


@EVERY
def test_pyarrow_and_we_agree_on_arrow(module: ModuleOf, ours: Ours, pairs: Pairs, tmp_path: Path) -> None:
    arrow, ipc = module("pyarrow"), module("pyarrow.ipc")
    with ipc.open_file(ours.export(pairs, "ours.arrow", name="arrow")) as reader:
        assert reader.read_all().to_pydict() == columns(pairs)
    table = arrow.table(columns(pairs))
    with ipc.new_file(tmp_path / "their.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    assert ours.imported(tmp_path / "their.arrow", name="arrow") == pairs
    with ipc.new_stream(tmp_path / "their.arrows", table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    assert ours.imported(tmp_path / "their.arrows", name="arrow") == pairs


@EVERY
def test_duckdb_and_we_agree_on_parquet(module: ModuleOf, ours: Ours, pairs: Pairs, tmp_path: Path) -> None:
    duckdb = module("duckdb")
    path = ours.export(pairs, "ours.parquet", name="parquet")
    assert duckdb.sql(f"SELECT key, value FROM '{path}' ORDER BY key").fetchall() == pairs
    duckdb.sql(f"COPY (SELECT * FROM '{path}') TO '{tmp_path / 'their.parquet'}' (FORMAT parquet)")
    assert ours.imported(tmp_path / "their.parquet", name="parquet") == pairs
