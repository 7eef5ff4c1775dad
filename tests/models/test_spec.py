"""Specs: what is saved is what is loaded, and what is not ours or not whole is refused."""

import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask.base import tokenize
from networks import chance

from s2cube.errors import CubeError, ReadError
from s2cube.models.spec import ModelSpec

safetensors = pytest.importorskip("safetensors.numpy", reason="needs the extra 'torch'")
FACTS: dict[str, Any] = {"name": "x", "architecture": "unet", "bands": ["B02"], "side": 32}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    spec = chance(name="mine", levels=["L1C"], licence="CC0", notes="of nothing")
    path = tmp_path / "mine.safetensors"
    for loaded in (spec.save(path), ModelSpec.load(path), ModelSpec.load(str(path), sha256=spec.sha256)):
        assert loaded == spec
        assert hash(loaded) == hash(spec)
        assert loaded.source == str(path)
        for name, array in spec.weights().items():
            np.testing.assert_array_equal(loaded.weights()[name], array)
            assert loaded.weights()[name].dtype == array.dtype
    assert spec.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert dict(loaded.parameters) == {"widths": (4, 6, 8, 10)}
    assert loaded.levels == ("L1C",)
    assert (loaded.licence, loaded.notes) == ("CC0", "of nothing")


def test_the_same_weights_are_the_same_model(tmp_path: Path) -> None:
    one, again, other = chance(1), chance(1), chance(2)
    assert one.sha256 == again.sha256 != other.sha256
    assert one != other
    saved = one.save(tmp_path / "one.safetensors")
    moved = one.save(tmp_path / "two.safetensors")
    assert tokenize(one) == tokenize(saved) == tokenize(moved) != tokenize(other)
    # Facts are in the file, and so in its sha256.
    assert chance(1, name="other").sha256 != one.sha256


def test_it_travels_light(tmp_path: Path) -> None:
    spec = chance(widths=(16, 24, 32, 48))
    saved = spec.save(tmp_path / "mine.safetensors")
    assert len(pickle.dumps(saved)) < 2000 < len(pickle.dumps(spec))
    assert len(repr(spec)) < 1000
    back = pickle.loads(pickle.dumps(saved))
    assert back == saved
    assert back.embedded().source == spec.source


def test_loading_needs_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    chance().save(path)
    code = (
        "import sys; from s2cube.models.spec import ModelSpec\n"
        f"print(ModelSpec.load({str(path)!r}).name, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["chance", "False"]


def test_a_file_that_was_damaged(tmp_path: Path) -> None:
    content = chance().content()
    path = tmp_path / "mine.safetensors"
    flipped = bytearray(content)
    flipped[-5] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(CubeError, match="is damaged: its weights do not have the checksum"):
        ModelSpec.load(path)
    path.write_bytes(content[:-100])
    with pytest.raises(CubeError, match="is damaged: "):
        ModelSpec.load(path)
    path.write_bytes(content[:100])
    with pytest.raises(CubeError, match="is no model of s2cube"):
        ModelSpec.load(path)


def test_a_file_that_was_exchanged(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    spec, other = chance(1).save(path), chance(2)
    with pytest.raises(CubeError, match=f"has the sha256 {spec.sha256}, not {other.sha256}"):
        ModelSpec.load(path, sha256=other.sha256)
    other.save(path)
    with pytest.raises(CubeError, match=rf"{other.sha256}.*was changed since ModelSpec\.load"):
        spec.weights()
    path.unlink()
    with pytest.raises(ReadError, match="cannot be read: No such file"):
        spec.weights()


class Harm:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('harmed')",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no model",
        b"\xff" * 64,
        pickle.dumps(Harm()),
        (8).to_bytes(8, "little") + b"not json",
        (2).to_bytes(8, "little") + b"[]",
    ],
    ids=["empty", "words", "noise", "pickle", "header", "list"],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(CubeError, match=r"other\.safetensors is no model of s2cube: a safetensors file"):
        ModelSpec.load(path)


def test_weights_of_another_library(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.save_file({"a": np.ones(3, np.float32)}, path)
    with pytest.raises(CubeError, match=r"no model of s2cube.* another library go into a callable"):
        ModelSpec.load(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"none\.safetensors cannot be read"):
        ModelSpec.load(tmp_path / "none.safetensors")
    with pytest.raises(ReadError, match="cannot be read: Is a directory"):
        ModelSpec.load(tmp_path)


def told(path: Path, **changes: Any) -> None:
    """Write a file whose header tells something else."""
    facts = {
        "format": 1, "name": "x", "architecture": "unet", "bands": ["B02"], "classes": [],
        "levels": ["L2A"], "side": 32, "parameters": {}, "licence": "", "notes": "", "checksum": "",
    }  # fmt: skip
    facts.update(changes)
    facts = {key: value for key, value in facts.items() if value is not None}
    safetensors.save_file({}, path, {"s2cube": json.dumps(facts)})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "transformer"}, "Unknown architecture 'transformer'; known: unet"),
        ({"format": 2}, "of a newer format: install a newer s2cube"),
        ({"bands": None}, r"tells too little of its network \(TypeError.*'bands'"),
        ({"parameters": None}, "tells too little of its network"),
        ({"parameters": [1]}, "tells too little of its network"),
        ({"checksum": None}, "tells too little of its network"),
        ({"bands": "B02"}, "lists of bands, classes and levels"),
        ({"bands": []}, "lists of bands"),
        ({"side": "32"}, "tells too little of its network"),
        ({"harm": 1}, "tells too little of its network"),
        ({}, "is damaged: its weights do not have the checksum"),
    ],
    ids=str,
)
def test_headers_that_tell_nonsense(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = tmp_path / "odd.safetensors"
    told(path, **changes)
    with pytest.raises(CubeError, match=words):
        ModelSpec.load(path)


def test_specs_of_nothing() -> None:
    with pytest.raises(CubeError, match="Unknown architecture 'mine'"):
        ModelSpec.of({}, **{**FACTS, "architecture": "mine"})
    with pytest.raises(CubeError, match="a side; got"):
        ModelSpec.of({}, **{**FACTS, "side": 0})


def test_without_safetensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 's2cube-ard\[torch\]'"):
        ModelSpec.of({}, **FACTS)
