"""What tests on a cluster have in common; the cluster itself is a fixture."""

import pytest

distributed = pytest.importorskip("distributed", reason="needs the extra 'distributed'")

ON_A_CLUSTER = [
    pytest.mark.slow,
    pytest.mark.xdist_group("cluster"),
    # Clusters in tests are torn down under open connections.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed.*"),
]
