"""What ``explain_regions`` says of memory, beside what a process takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "one_region.py"


@pytest.mark.thorough
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_region_takes_what_was_planned() -> None:
    """Hardly more, and not a quarter less, with memory given back as on Dask's workers.

    Thorough: on cores that others use too, threads overlap in other ways, and so do their peaks.
    """
    told = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), "linear", "512", "2"],
        env=os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(told.stdout.splitlines()[-1])
    assert 0.75 < found["arrays"] / found["plan"] < 1.15
    assert found["python"] < 0.5e9
