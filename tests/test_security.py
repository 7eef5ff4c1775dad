"""What is read from others cannot run, and goes nowhere else: all calls, and files that try."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest

import s2cube
from s2cube.errors import CubeError, ReadError
from s2cube.testing import FileServer

ROOT = Path(s2cube.__file__).parent
# Calls that run what a file holds, or put files where it says.
NEVER = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "pandas.read_pickle", "pd.read_pickle",
    "torch.load", "joblib.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "marshal.loads",
    "eval", "exec", "os.system", "os.popen", "tempfile.mktemp",
}  # fmt: skip
UNPACKS = {"extractall", "extract", "unpack_archive"}
# Between the processes of the user's own cluster, as Dask does it.
TRAVELS = {("store/run/workers.py", "cloudpickle.loads")}
# Who asks the network at all; all else goes through pystac-client, GDAL and obstore.
ASKS = {"sources/stac_api.py", "sources/signing.py", "sources/clearsky/exchange.py"}


def calls() -> list[tuple[str, str, ast.Call]]:
    """Return all calls of the package: file, name as written, and the call."""
    return [
        (path.relative_to(ROOT).as_posix(), ast.unparse(node.func), node)
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


def test_nothing_that_is_read_is_run() -> None:
    for file, name, call in calls():
        assert name not in NEVER, f"{file}: {name}"
        assert name.rpartition(".")[2] not in UNPACKS, f"{file}: {name}"
        assert not name.startswith("cloudpickle.load") or (file, name) in TRAVELS, f"{file}: {name}"
        told = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert told.get("shell", "False") == "False", f"{file}: {name}"
        if name in ("np.load", "numpy.load"):
            assert told.get("allow_pickle") == "False", f"{file}: say allow_pickle=False"


def test_few_ask_the_network() -> None:
    found = {file for file, name, _ in calls() if name.endswith(("urlopen", "build_opener"))}
    assert found == ASKS


def test_servers_are_on_loopback(tmp_path: Path) -> None:
    for file, name, call in calls():
        if name.endswith("HTTPServer"):
            assert file.startswith("testing/")
            assert ast.unparse(call.args[0]).startswith("('127.0.0.1', ")
    with FileServer(tmp_path) as server:
        assert server.url.startswith("http://127.0.0.1:")


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_files_that_try_to_run_something(tmp_path: Path) -> None:
    ran, path = tmp_path / "ran", tmp_path / "mine.npz"
    pickle.loads(pickle.dumps(Bomb(ran))).close()
    assert ran.exists()
    ran.unlink()
    np.savez(path, spec=np.array([Bomb(ran)], dtype=object))
    with pytest.raises(ReadError, match="allow_pickle=False"):
        s2cube.L2ASpec.load(path)
    path.write_bytes(pickle.dumps(Bomb(ran)))
    for load in (s2cube.L2ASpec.load, s2cube.models.ModelSpec.load):
        with pytest.raises((CubeError, ReadError), match="is no "):
            load(path)
    job = tmp_path / "job.yaml"
    job.write_text(f"source: !!python/object/apply:builtins.open ['{ran}', w]\n")
    with pytest.raises(CubeError, match="is no YAML"):
        s2cube.read_job(job)
    assert not ran.exists()
