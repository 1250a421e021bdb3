"""Builds the compiled twins of the hot modules; everything else about the package stands in pyproject.toml.

    lsmcli/engine/entry_order.py   ->   lsmcli/engine/_entry_order.<platform>.so

Every extension is optional: without Cython, without a C compiler, or with LSMCLI_PURE=1 in the environment, the
package installs all the same, and runs the very same files interpreted.
"""

import os

from setuptools import Extension, setup

HOT = (
    "lsmcli.engine.entry_map",
    "lsmcli.engine.entry_order",
    "lsmcli.engine.entry_pack",
    "lsmcli.engine.file_write",
    "lsmcli.engine.op_columns",
    "lsmcli.engine.op_path",
    "lsmcli.engine.block_merge",
    "lsmcli.engine.second_thread",
    "lsmcli.engine.memory_runs",
    "lsmcli.engine.piece_merge",
    "lsmcli.engine.block_scan",
    "lsmcli.engine.run_merge",
    "lsmcli.engine.sized_columns",
    "lsmcli.engine.byte_search",
    "lsmcli.engine.block_entry",
    "lsmcli.engine.lookup",
    "lsmcli.engine.wal_run",
    "lsmcli.formats.plain_rows",
)


def extensions() -> list[Extension]:
    """One for each hot module; none where they cannot or shall not be built."""
    if os.environ.get("LSMCLI_PURE", "0") not in ("", "0"):
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        return []
    twins = []
    for name in HOT:
        package, _, module = name.rpartition(".")
        source = name.replace(".", "/") + ".py"
        twins.append(Extension(f"{package}._{module}", [source], extra_compile_args=["-O3", "-g0"]))
    built: list[Extension] = cythonize(twins, build_dir="build/cython", language_level=3)
    for extension in built:
        extension.optional = True  # said here: cythonize() makes extensions of its own
    return built


setup(ext_modules=extensions())
