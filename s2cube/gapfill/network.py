"""``network``: a small network that says whom of the experts to believe, taught on hidden looks.

It runs on the windows of ``similar`` and begins with what that says. What it is told, and how it is
cut, is the same in teaching (:mod:`s2cube.gapfill.lessons`) as here.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CubeError
from s2cube.gapfill import windows
from s2cube.gapfill.cells import CELL, MARGIN, PATCH, Cells
from s2cube.gapfill.quantiles import PERCENTS
from s2cube.gapfill.series import Filled, Series, fill_tiles
from s2cube.kernels.experts import OWN, SHARED, Experts, ask
from s2cube.kernels.window import pass_clear
from s2cube.models.run import AUTO, BatchSize, check_run, run_network
from s2cube.models.spec import ModelSpec
from s2cube.schema import Provenance

__all__ = ["ARCHITECTURE", "check_spec", "fill_by_network"]

ARCHITECTURE: Final = "gate"
TOGETHER: Final = 128
"""Windows that are made ready at once, at least those of one date."""
_ADVICE: Final = (
    "Fit one to your own cube, spec = s2cube.fit_gap_filler(cube), and pass fill_gaps(method=spec)"
)


def check_spec(spec: Any, *, causal: bool) -> ModelSpec:
    """Return `spec` if it is one of gap filling, taught for this way.

    Raises
    ------
    CubeError
        It is none, or was taught the other way.
    """
    if not isinstance(spec, ModelSpec):
        raise CubeError(f"'network' needs weights, and none come with s2cube. {_ADVICE}.")
    if spec.architecture != ARCHITECTURE:
        raise CubeError(f"{spec.name!r} is a {spec.architecture!r}, made for other work. {_ADVICE}.")
    if (taught := bool(dict(spec.parameters).get("causal"))) != causal:
        raise CubeError(
            f"{spec.name!r} was fitted with causal={taught} and cannot fill with causal={causal}: "
            f"experts say other things then. Fit another: fit_gap_filler(cube, causal={causal})."
        )
    return spec


def check_cube_of(spec: ModelSpec, bands: Sequence[str], level: str, causal: bool, first: int) -> None:
    """Refuse to fill what the network did not learn, and a past that it knows the future of.

    Parameters
    ----------
    spec
        The network.
    bands, level
        Of the cube; no level where it is unknown.
    causal
        Whether values may lean only on looks up to their day.
    first
        First day to be filled, days since 1970-01-01.
    """
    if unknown := [band for band in bands if band not in spec.bands]:
        raise CubeError(
            f"{spec.name!r} learnt from {', '.join(spec.bands)} and knows nothing of "
            f"{', '.join(unknown)}: fill cube[[...]] with those bands alone, or fit with these too."
        )
    if level and level not in spec.levels:
        raise CubeError(
            f"{spec.name!r} learnt from level {' and '.join(spec.levels)}, the cube is {level}: fit one "
            "to cubes of that level."
        )
    day = np.datetime64(first, "D")
    if causal and (not spec.fitted_until or np.datetime64(spec.fitted_until, "D") >= day):
        raise CubeError(
            f"{spec.name!r} learnt from looks until {spec.fitted_until or 'an unknown day'}, so it "
            f"knows the future of {day}, and causal=True would not be true. Fill later dates, or fit "
            f"with until={str(day - 1)!r} or earlier."
        )


def fill_by_network(
    series: Series, *, spec: ModelSpec, device: str = AUTO, batch_size: BatchSize = AUTO
) -> Filled:
    """Fill with the best expert, and what the network adds to it where nothing is clear."""
    check_run(device, batch_size, f"The network {spec.name!r}")
    check_cube_of(spec, list(series.bands), series.level, series.causal, int(series.targets[0]))
    sizes = len(series.bands), len(series.days), len(series.targets)
    counted = spec.weights()["quantiles"].tolist() if series.deviations else []
    return fill_tiles(
        series,
        _window,
        side=windows.SIDE,
        halo=windows.HALO,
        work=work_of(*sizes, _pixels(series)),
        factors={level: tuple(row) for level, row in zip(PERCENTS, counted, strict=False)} or None,
        spec=spec,
        device=device,
        batch_size=batch_size,
    )


def _pixels(series: Series) -> int:
    """Return how many pixels a window has."""
    most = windows.SIDE + 2 * windows.HALO
    rows, columns = (min(int(length), most) for length in series.valid.shape[1:])
    return rows * columns


def work_of(bands: int, looks: int, days: int, pixels: int) -> int:
    """Return the bytes by pixel of a window that it is filled with, beside what goes in and out."""
    channels = len(OWN) + len(SHARED)
    together = max(TOGETHER, 4 * bands) * PATCH**2 * (2 * 2 * channels + 2 * 4 * 2)
    experts = 12 * bands * days + 8 * 3 * bands * channels
    return windows.work_of(bands, looks, days, same_date=True) + experts + together // pixels


def _window(
    *looks: NDArray[Any],
    days: NDArray[np.int32],
    targets: NDArray[np.int32],
    origin: tuple[int, int],
    inside: tuple[slice, slice],
    causal: bool,
    smooth: bool,
    uncertain: bool,
    **run: Any,
) -> Iterator[NDArray[Any]]:
    """Yield provenance, bands and, if asked for, deviations; `looks` end with where they are valid."""
    *bands, valid = looks
    values = np.stack(bands, axis=1)
    cells = Cells.of(origin, valid.shape[1:], inside)
    experts = ask(
        values, valid, days=days, targets=targets, origin=origin, causal=causal, smooth=smooth,
        inside=cells.area,
    )  # fmt: skip
    if experts is None:
        nothing = valid[0][inside].shape
        yield np.full((len(targets), *nothing), Provenance.NEVER_OBSERVED, np.uint8)
        for _ in range(len(bands) * (1 + uncertain)):
            yield np.full((len(targets), *nothing), np.nan, np.float32)
        return
    filled, deviation, source = _filled(experts, cells, **run)
    if not smooth:
        pass_clear(filled, values, valid, days, targets, cells.area)
    part = cells.part
    yield source[:, *part]
    yield from np.moveaxis(filled, 1, 0)[:, :, *part]
    if uncertain:
        yield from np.moveaxis(deviation, 1, 0)[:, :, *part]


def _filled(
    experts: Experts, cells: Cells, **run: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """Return bands, deviations and provenance of the area, where the network has spoken."""
    steps, count, _ = experts.bands.shape
    bands, deviation = (
        array.reshape(steps, count, *cells.shape) for array in (experts.bands, experts.deviation)
    )
    source = experts.source.reshape(steps, *cells.shape)
    for group in _groups(experts, cells):
        places = [
            (target, gaps, number)
            for target, gaps in group.items()
            for number, corner in enumerate(cells.corners)
            if cells.pick(gaps, corner).any()
        ]
        told = np.empty((len(places), count, len(OWN) + len(SHARED), PATCH, PATCH), np.float16)
        for target, some in groupby(enumerate(places), key=lambda pair: pair[1][0]):
            own, shared = cells.tell(experts, target)
            for row, (_, _, number) in some:
                told[row, :, : len(OWN)], told[row, :, len(OWN) :] = own[number], shared[number]
        found = run_network(told.reshape(-1, *told.shape[2:]), **run)
        found = found[..., MARGIN:-MARGIN, MARGIN:-MARGIN].reshape(-1, count, 2, CELL, CELL)
        for (target, gaps, number), made in zip(places, found, strict=True):
            corner = cells.corners[number]
            off, wider = np.moveaxis(cells.fit(made, corner), 1, 0)
            here = cells.pick(gaps, corner)
            value, spread = (cells.pick(array[target], corner) for array in (bands, deviation))
            np.add(value, experts.unit(target)[:, None, None] * off, out=value, where=here)
            np.multiply(spread, np.exp(wider), out=spread, where=here)
            cells.pick(source[target], corner)[here] = Provenance.NETWORK
    return bands, deviation, source


def _groups(experts: Experts, cells: Cells) -> Iterator[Mapping[int, NDArray[np.bool_]]]:
    """Yield targets that go together, and where there is something to fill."""
    each = len(cells.corners) * experts.bands.shape[1]
    group: dict[int, NDArray[np.bool_]] = {}
    for target in range(len(experts.bands)):
        gaps = experts.gaps(target).reshape(cells.shape)
        if gaps[cells.part].any():
            group[target] = gaps & _only(cells)
        if group and (len(group) + 1) * each > TOGETHER:
            yield group
            group = {}
    if group:
        yield group


def _only(cells: Cells) -> NDArray[np.bool_]:
    """Return where the part is: what is around it is another window's."""
    only = np.zeros(cells.shape, bool)
    only[cells.part] = True
    return only
