"""The walk through the Debian package index, on a small kept sample of it."""

import subprocess
from pathlib import Path

import pytest

from tests.testing.transcript import ROOT, programs

SAMPLE = ROOT / "tests" / "data" / "debian_packages.txt"


@pytest.mark.slow
def test_the_package_index_goes_in_and_comes_out(tmp_path: Path) -> None:
    environment = programs(tmp_path / "bin") | {"DEMO_BUILD": str(tmp_path / "build")}
    run = subprocess.run(
        [ROOT / "demo" / "debian_index.sh", SAMPLE],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    count = SAMPLE.read_text("utf-8").count("Package: ")
    assert f"imported={count} replaced=0 skipped=0 rejected=0" in run.stdout
    assert f"\n{count} packages, all equal\n" in run.stdout
    assert "\nthe same\n" in run.stdout
    assert "\nlibsqlite3-0\nlibsqlite3-dev\n" in run.stdout
