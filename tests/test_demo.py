"""The demo runs from beginning to end, on the package as it is here, and shows what it says it shows."""

import subprocess
from pathlib import Path

import pytest

from tests.testing.transcript import ROOT, programs


@pytest.mark.slow
def test_the_demo_runs(tmp_path: Path) -> None:
    environment = programs(tmp_path / "bin") | {"DEMO_BUILD": str(tmp_path / "build")}
    run = subprocess.run(
        [ROOT / "demo" / "demo.sh"],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert '"name": "GRINNING FACE"' in run.stdout
    assert "(exit code 1)" in run.stdout
    assert run.stdout.splitlines()[-1].startswith("The file is ")
    assert (tmp_path / "build" / "unicode.lsm").stat().st_size > 1_000_000
