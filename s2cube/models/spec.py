"""``ModelSpec``: a network told, not held: its name, how it is built, and where its weights are."""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CubeError, ReadError
from s2cube.models.architectures import ARCHITECTURES

__all__ = ["ModelSpec"]

KEY: Final = "s2cube"
"""The one entry of the file's metadata: with two, their order, and so the sha256, would be chance."""
FORMAT: Final = 1
_LENGTH: Final = struct.Struct("<Q")
"""What a safetensors file begins with: the bytes of its header."""


@dataclass(frozen=True)
class ModelSpec:
    """What a process needs to build a network, small enough for any graph.

    :meth:`load` makes it from a file, :meth:`of` from weights in memory. Two are equal when their facts
    and sha256 are, wherever the weights lie; to Dask the sha256 alone decides.

    Examples
    --------
    >>> import numpy as np
    >>> weights = {"scale": np.ones(2, np.float32)}
    >>> facts = {"bands": ["B04", "B08"], "classes": ["clear", "cloud"], "side": 64}
    >>> spec = ModelSpec.of(weights, name="mine", architecture="unet", **facts)
    >>> spec.name, spec.bands, len(spec.sha256)
    ('mine', ('B04', 'B08'), 64)
    """

    name: str
    architecture: str
    """A name of :data:`s2cube.models.architectures.ARCHITECTURES`."""
    sha256: str
    """Of the file, as ``sha256sum`` prints it."""
    bands: tuple[str, ...]
    """What the network looks at, in its order."""
    side: int
    """Pixels of the window that it was trained on."""
    classes: tuple[str, ...] = ()
    """What it tells apart, in the order of its output."""
    levels: tuple[str, ...] = ("L1C", "L2A")
    """Processing levels that it was made for."""
    parameters: tuple[tuple[str, Any], ...] = ()
    """Of the architecture, beside bands and classes."""
    fitted_until: str = ""
    """Last solar day that it learnt from, ``"2019-12-31"``, where that is known: before it, what it says
    is no forecast."""
    licence: str = ""
    notes: str = ""
    """Where it comes from, and what it was found to do."""
    source: str | bytes = field(default=b"", repr=False, compare=False)
    """Path of the file, or all of it."""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise CubeError(
                f"Unknown architecture {self.architecture!r}; known: {', '.join(ARCHITECTURES)}."
            )
        lists = (self.bands, self.classes, self.levels)
        if not all(isinstance(one, tuple) for one in lists) or not self.bands or self.side < 1:
            raise CubeError(
                f"A model has lists of bands, classes and levels, and a side; got {lists}, {self.side}."
            )

    def __dask_tokenize__(self) -> tuple[str, str]:
        return (type(self).__name__, self.sha256)

    @classmethod
    def of(
        cls,
        weights: Mapping[str, NDArray[Any]],
        *,
        name: str,
        architecture: str,
        bands: Sequence[str],
        side: int,
        classes: Sequence[str] = (),
        levels: Sequence[str] = ("L1C", "L2A"),
        parameters: Mapping[str, Any] | None = None,
        fitted_until: str = "",
        licence: str = "",
        notes: str = "",
    ) -> "ModelSpec":
        """Return the spec of weights in memory.

        Parameters
        ----------
        weights
            Arrays by name: what the network's ``state_dict()`` holds.
        name, architecture, bands, side, classes, levels, parameters, fitted_until, licence, notes
            As the attributes are. Numbers and lists of numbers will do for `parameters`.

        Raises
        ------
        CubeError
            The architecture is unknown, or there is no band.
        ImportError
            safetensors is not installed.
        """
        facts = {
            "name": name,
            "architecture": architecture,
            "bands": list(bands),
            "side": int(side),
            "classes": list(classes),
            "levels": list(levels),
            "parameters": dict(parameters or {}),
            "licence": licence,
            "notes": notes,
            **({"fitted_until": fitted_until} if fitted_until else {}),
        }
        told = {"format": FORMAT, **facts, "checksum": _checksum(weights)}
        dense = {key: np.asarray(array, order="C") for key, array in weights.items()}
        content: bytes = _safetensors().save(dense, {KEY: json.dumps(told, sort_keys=True)})
        return cls._parsed(content, "the model", content)

    @property
    def shape(self) -> tuple[int, int]:
        """Channels that go into the network, and that come out."""
        known = ARCHITECTURES[self.architecture].shape
        return known or (len(self.bands), len(self.classes))

    @classmethod
    def load(cls, path: str | Path, *, sha256: str | None = None) -> "ModelSpec":
        """Return the spec of a file that :meth:`save` wrote.

        Nothing in such a file can run. Its checksum is held against the weights.

        Parameters
        ----------
        path
            A ``.safetensors`` file. On a cluster every worker must find it there; where they do not,
            ``ModelSpec.load(path).embedded()`` takes the weights along in the graph.
        sha256
            What the file's must be, where its publisher tells.

        Raises
        ------
        ReadError
            There is no such file.
        CubeError
            It is none of ours, or damaged, or another than `sha256` says.
        ImportError
            safetensors is not installed.
        """
        where = str(Path(path).absolute())
        content = _read(where)
        spec = cls._parsed(content, where, where)
        if sha256 is not None and spec.sha256 != sha256.lower():
            raise CubeError(f"{where} has the sha256 {spec.sha256}, not {sha256}: get it again.")
        return spec

    def save(self, path: str | Path) -> "ModelSpec":
        """Write the file: weights, and facts in its header; return the spec that reads it from there.

        A file that is there is replaced.
        """
        Path(path).write_bytes(self.content())
        return ModelSpec.load(path, sha256=self.sha256)

    def embedded(self) -> "ModelSpec":
        """Return the spec with its weights inside, for workers that do not see the file."""
        return replace(self, source=self.content())

    def content(self) -> bytes:
        """Return the file's bytes, held against the sha256.

        Raises
        ------
        ReadError
            The file is gone.
        CubeError
            It is no longer the one that the spec was made of.
        """
        content = self.source if isinstance(self.source, bytes) else _read(self.source)
        if (found := _sha256(content)) != self.sha256:
            raise CubeError(
                f"The weights of {self.name!r} have the sha256 {found}, the model has {self.sha256}: "
                "the file was changed since ModelSpec.load()."
            )
        return content

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name."""
        return dict(_safetensors().load(self.content()))

    def described(self) -> str:
        """Return name and sha256, for ``history``."""
        return f"{self.name} (sha256 {self.sha256})"

    @classmethod
    def _parsed(cls, content: bytes, words: str, source: str | bytes) -> "ModelSpec":
        """Return the spec of a file's bytes, once they are found to be whole."""
        told = _header(content, words)
        try:
            if told.pop("format") != FORMAT:
                raise CubeError(f"{words} is of a newer format: install a newer s2cube.")
            checksum = told.pop("checksum")
            frozen: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in told.items()
            }
            frozen["parameters"] = tuple(
                (key, tuple(value) if isinstance(value, list) else value)
                for key, value in sorted(told["parameters"].items())
            )
            spec = cls(**frozen, sha256=_sha256(content), source=source)
        except (KeyError, TypeError, AttributeError) as error:
            raise CubeError(f"{words} tells too little of its network ({error!r}).") from None
        try:
            weights = _safetensors().load(content)
        except (_damage(), KeyError, ValueError) as error:
            raise CubeError(f"{words} is damaged: {error}.") from None
        if _checksum(weights) != checksum:
            raise CubeError(f"{words} is damaged: its weights do not have the checksum that it tells.")
        return spec


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            "Models need safetensors: python -m pip install 's2cube-ard[torch]'."
        ) from None
    return safetensors.numpy


def _damage() -> type[Exception]:
    """Return what safetensors raises for a file that is not whole."""
    from safetensors import SafetensorError

    return SafetensorError


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ReadError(f"The model {path} cannot be read: {error.strerror}.") from None


def _header(content: bytes, words: str) -> dict[str, Any]:
    """Return what a file tells of its network; the layout is that of safetensors."""
    try:
        (length,) = _LENGTH.unpack_from(content)
        header = json.loads(content[_LENGTH.size : _LENGTH.size + length])
        told = json.loads(header["__metadata__"][KEY])
    except (struct.error, ValueError, KeyError, TypeError):
        told = None
    if not isinstance(told, dict):
        raise CubeError(
            f"{words} is no model of s2cube: a safetensors file with an entry {KEY!r} in its metadata, "
            "as ModelSpec.save() writes it. Weights of another library go into a callable."
        )
    return told


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _checksum(weights: Mapping[str, NDArray[Any]]) -> str:
    """Return the sha256 of the arrays alone, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        array = np.asarray(weights[name], order="C")
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()
