"""``L2ASpec``: how some processor's level 2A follows from level 1C, learnt from a scene of it."""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CubeError, ReadError

__all__ = ["L2ASpec", "Slopes"]

FORMAT: Final = 1


@dataclass(frozen=True)
class Slopes:
    """How slopes are lit at one place, as learnt there: good for that grid, and for such a sun."""

    extra: NDArray[np.float32] = field(repr=False)
    """By how much more light each pixel gets than flat ground, a share, shape ``(y, x)``."""
    part: tuple[float, ...]
    """How much of it counts in each band."""
    x: NDArray[np.float64] = field(repr=False)
    y: NDArray[np.float64] = field(repr=False)
    crs: str
    sun_zenith: float
    sun_azimuth: float


@dataclass(frozen=True, eq=False)
class L2ASpec:
    """What :func:`~s2cube.fit_l2a` learnt: small, frozen, good for any cube of its bands.

    Two are equal when their sha256 are.
    """

    bands: tuple[str, ...]
    gain: tuple[float, ...]
    """By band: what the emulator's ``y`` is multiplied with (``BOA = y / (1 + c * y)``)."""
    shift: tuple[float, ...]
    """By band: what is added to it then, reflectance."""
    aerosol: float
    """What explained the scene best, or was given, of the state of the air (aerosol: optical thickness
    at 550 nm): taken where a cube's own is not given."""
    water_vapour: float
    ozone: float
    elevation: float
    slopes: Slopes | None = None
    fitted_until: str = ""
    """The last solar day that was learnt from."""
    name: str = ""
    notes: str = ""
    errors: tuple[tuple[str, float], ...] = ()
    """In-sample mean absolute errors by band, counts of 0.0001: no promise for other dates."""

    @property
    def sha256(self) -> str:
        """Of all that decides values."""
        facts, arrays = self._parts()
        digest = hashlib.sha256(json.dumps({**facts, "notes": "", "name": ""}, sort_keys=True).encode())
        for key in sorted(arrays):
            digest.update(key.encode())
            digest.update(np.ascontiguousarray(arrays[key]).tobytes())
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, L2ASpec) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return (type(self).__name__, self.sha256)

    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        facts: dict[str, Any] = {
            key: getattr(self, key)
            for key in (
                "bands", "gain", "shift", "aerosol", "water_vapour", "ozone", "elevation",
                 "fitted_until", "name", "notes", "errors",
            )
        }  # fmt: skip
        arrays: dict[str, NDArray[Any]] = {}
        if (slopes := self.slopes) is not None:
            facts["slopes"] = [slopes.part, slopes.crs, slopes.sun_zenith, slopes.sun_azimuth]
            arrays = {"extra": slopes.extra, "x": slopes.x, "y": slopes.y}
        return facts, arrays

    def save(self, path: str | Path) -> None:
        """Write it into a file (``.npz``: plain arrays, no code)."""
        facts, arrays = self._parts()
        told = json.dumps({"format": FORMAT, **facts, "sha256": self.sha256})
        out = io.BytesIO()
        # Text and numbers, which are never pickled. NumPy 2.0 would take allow_pickle= for an array.
        np.savez(out, facts=np.array(told), **arrays)  # type: ignore[arg-type]
        Path(path).write_bytes(out.getvalue())

    @classmethod
    def load(cls, path: str | Path) -> "L2ASpec":
        """Read a file that :meth:`save` wrote.

        Raises
        ------
        ReadError
            It is none, or was changed.
        """
        try:
            with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as held:
                arrays = dict(held)
            facts = json.loads(str(arrays.pop("facts")))
            sha256, form = facts.pop("sha256"), facts.pop("format")
            if form != FORMAT:
                raise ReadError(f"{path} has format {form}, this version of s2cube reads {FORMAT}.")
            if (told := facts.pop("slopes", None)) is not None:
                part, crs, zenith, azimuth = told
                facts["slopes"] = Slopes(
                    part=tuple(part), crs=crs, sun_zenith=zenith, sun_azimuth=azimuth, **arrays
                )
            lists = {key: _tuples(facts[key]) for key in ("bands", "gain", "shift", "errors")}
            spec = cls(**{**facts, **lists})
        except (
            KeyError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile
        ) as error:  # fmt: skip
            raise ReadError(
                f"{path} is no spec of level 2A (L2ASpec.save writes them): {error}."
            ) from None
        if spec.sha256 != sha256:
            raise ReadError(f"{path} was changed since it was written: its sha256 is another.")
        return spec

    def index(self, bands: list[str]) -> list[int]:
        """Return the places of `bands` among its own; refuse others."""
        if missing := [band for band in bands if band not in self.bands]:
            raise CubeError(
                f"The spec was not fitted to {', '.join(missing)}; it knows {', '.join(self.bands)}. "
                "Drop them from the cube, or fit it anew."
            )
        return [self.bands.index(band) for band in bands]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
