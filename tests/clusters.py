"""What tests on a cluster have in common."""

from typing import Any

import pytest

distributed = pytest.importorskip("distributed", reason="needs the extra 'distributed'")

ON_A_CLUSTER = [
    pytest.mark.slow,
    # Clusters in tests are torn down under open connections.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed.*"),
]


def two_workers() -> Any:
    """Return a cluster of two processes on loopback, to be entered."""
    return distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    )
