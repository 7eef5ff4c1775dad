"""What a method of filling is given, and what it gives back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2cube.blocks import map_tiles, map_time
from s2cube.gapfill.extra import Extra
from s2cube.kernels.fill import Reach
from s2cube.schema import Provenance

__all__ = ["Filled", "Series", "fill_bands", "fill_tiles"]


@dataclass(frozen=True)
class Series:
    """The looks of a cube and the days that are asked for. Arrays are lazy where the cube is."""

    bands: Mapping[str, Any]
    """``float32``, ``(time, y, x)``."""
    valid: Any
    """Where all bands have a value: the clear looks."""
    days: NDArray[np.int32]
    """Solar day of each look, ascending; some may be equal."""
    targets: NDArray[np.int32]
    """Days asked for, ascending."""
    causal: bool
    """Whether a value may lean only on looks up to its day."""
    smooth: bool
    """Whether estimates replace clear looks too."""
    deviations: bool
    """Whether it is asked how far estimates may be off."""
    origin: tuple[int, int]
    """Row and column of the first pixel in its grid (:func:`s2cube.schema.first_pixel`)."""
    level: str = ""
    """Processing level of the cube, where it is known."""
    extra: tuple[Extra, ...] = ()
    """What other sensors saw; nothing for methods that cannot use it."""

    @property
    def reach(self) -> Reach:
        """The same as `causal`, as kernels call it."""
        return "past" if self.causal else "both"

    @property
    def between(self) -> Provenance:
        """What a value between two clear looks is called."""
        return Provenance.EXTRAPOLATED if self.causal else Provenance.INTERPOLATED


@dataclass(frozen=True)
class Filled:
    """What a method makes of it."""

    bands: Mapping[str, Any]
    """``float32``, ``(targets, y, x)``."""
    between: Provenance
    """What a value between two clear looks is called."""
    source: Any = None
    """Provenance of each value, ``uint8``, ``(targets, y, x)``; None where `between` says it all."""
    deviation: Mapping[str, Any] | None = None
    """One standard deviation of each value by band, ``float32``, before it is calibrated
    (:mod:`s2cube.gapfill.intervals`); None where it was not asked for, or is not known."""
    factors: Mapping[int, tuple[float, ...]] | None = None
    """How many deviations hold a percentage of the errors, by days (:mod:`s2cube.gapfill.quantiles`);
    None where the library counted it."""


def fill_bands(
    series: Series,
    kernel: Callable[..., NDArray[np.float32]],
    *,
    between: Provenance | None = None,
    **keywords: Any,
) -> Filled:
    """Fill band by band with a kernel that looks at the series of one pixel.

    Parameters
    ----------
    series
        The looks.
    kernel
        ``kernel(values, valid, *, days, targets, **keywords)``, as those of
        :mod:`s2cube.kernels.fill`.
    between
        As in :class:`Filled`; by default interpolated, and extrapolated when causal.
    **keywords
        Of the kernel.
    """
    bands = {
        band: map_time(
            kernel,
            data,
            series.valid,
            length=len(series.targets),
            dtype=np.float32,
            days=series.days,
            targets=series.targets,
            **keywords,
        )
        for band, data in series.bands.items()
    }
    return Filled(bands, series.between if between is None else between)


def fill_tiles(
    series: Series,
    kernel: Callable[..., Iterator[NDArray[Any]]],
    *beside: Any,
    side: int,
    halo: int,
    work: int,
    names: Sequence[str] | None = None,
    factors: Mapping[int, tuple[float, ...]] | None = None,
    **keywords: Any,
) -> Filled:
    """Fill all bands at once with a kernel that looks at windows of the grid.

    Parameters
    ----------
    series
        The looks.
    kernel
        ``kernel(*bands, valid, *beside, days, targets, origin, inside, causal, smooth, uncertain,
        **keywords)`` yields provenance, bands and, where it is asked for (`uncertain`), deviations.
    *beside
        More arrays that it is given.
    side, halo, work
        As in :func:`~s2cube.blocks.map_tiles`.
    names
        The bands, in the order of the kernel; by default in that of the cube.
    factors
        As in :class:`Filled`.
    **keywords
        Of the kernel.
    """
    names = list(series.bands) if names is None else names
    source, *made = map_tiles(
        kernel,
        *(series.bands[name] for name in names),
        series.valid,
        *beside,
        origin=series.origin,
        side=side,
        halo=halo,
        length=len(series.targets),
        dtypes=[np.uint8, *[np.float32] * (len(names) * (1 + series.deviations))],
        work=work,
        days=series.days,
        targets=series.targets,
        causal=series.causal,
        smooth=series.smooth,
        uncertain=series.deviations,
        **keywords,
    )
    values = dict(zip(names, made, strict=False))
    wide = dict(zip(names, made[len(names) :], strict=False))
    return Filled(
        {name: values[name] for name in series.bands},
        series.between,
        source,
        {name: wide[name] for name in series.bands} if series.deviations else None,
        factors,
    )
