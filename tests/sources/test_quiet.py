"""What is said of reading: noise is hidden for the threads that read, and for no others."""

import os
import subprocess
import sys
import threading
import warnings

import pytest
from rasterio.errors import NotGeoreferencedWarning

from s2cube.sources import quiet

WALKED_WHILE_REPLACED = """
import sys, threading, time, warnings
from s2cube.sources import quiet
quiet.install()
sys.setswitchinterval(1e-5)
end = time.monotonic() + 3

def reads():
    while time.monotonic() < end:
        with quiet.reading():
            warnings.warn("as affine does", PendingDeprecationWarning)

def replaces():
    while time.monotonic() < end:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.warn("as rasterio does", UserWarning)

threads = [threading.Thread(target=one) for one in (reads, reads, replaces, replaces)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_read_do_not_crash_the_process() -> None:
    """Freed memory is filled with rubbish here, so that whoever walks in it falls at once."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WALKED_WHILE_REPLACED],
        env={**os.environ, "PYTHONMALLOC": "debug"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_only_threads_that_read_hide_it() -> None:
    """Another thread's warning is shown meanwhile, and the same thread's is afterwards."""
    text = "Dataset has no geotransform"
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        quiet.install()
        with quiet.reading():
            warnings.warn(text, NotGeoreferencedWarning, stacklevel=1)
            warnings.warn("others are shown", UserWarning, stacklevel=1)
            other = threading.Thread(target=warnings.warn, args=(text, NotGeoreferencedWarning))
            other.start()
            other.join()
        with pytest.warns(NotGeoreferencedWarning, match=text):
            warnings.warn(text, NotGeoreferencedWarning, stacklevel=1)
    assert [one.category for one in shown] == [UserWarning, NotGeoreferencedWarning]
