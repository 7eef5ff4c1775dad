"""``evaluate_gap_filling``: hide clear looks, fill, and compare with what was hidden."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from s2cube.blocks import is_lazy, progress_bar
from s2cube.errors import CubeError
from s2cube.evaluate.filling_methods import Contender, contenders
from s2cube.evaluate.filling_scores import Piece, Shown, daily_pieces, floor_pieces, trial_pieces
from s2cube.evaluate.filling_tables import summarize_gap_filling
from s2cube.gapfill import DEFAULT
from s2cube.gapfill.hidden import MASKS, Looks, looks_of, trials

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["evaluate_gap_filling"]

Methods = str | Iterable[Any] | Mapping[str, Any]
USUAL: Final = ("last", "linear", DEFAULT)
"""What one would do else, and what `fill_gaps` does."""


def evaluate_gap_filling(
    cube: xr.Dataset,
    methods: Methods = USUAL,
    *,
    masks: str | Iterable[str] = MASKS,
    causal: bool | Iterable[bool] = (False, True),
    gaps: Sequence[int] | None = None,
    rounds: int = 1,
    seed: int = 0,
    daily: bool = True,
    by: str | Iterable[str] = (),
    details: bool = False,
    progress: bool = True,
) -> "pd.DataFrame":
    """Measure methods of filling on clear looks that they were not shown.

    Clear pixels are hidden, the gaps filled from what is left, and the result compared with the hidden
    values; never with pixels that were masked, or that lie within two pixels of a masked one.

    Parameters
    ----------
    cube
        A masked cube. It is computed: a lazy one block by block, read twice in all.
    methods
        Names of methods of :func:`~s2cube.fill_gaps`; or your own functions
        ``method(cube, *, dates, causal)``, which return a cube with all bands at the dates; or a dict
        from labels to options (``{"stiff": {"method": "whittaker", "smoothness": 100.0}}``, without
        ``"method"`` where the label names it) or to functions.
    masks
        What is hidden, reported apart, as errors depend on it strongly. On a fifth of the dates that are
        at least 30 % clear: ``"random"``, every other pixel by chance (easy, and ranks methods wrongly);
        ``"clouds"``, what lies under the clouds of another date, mirrored and turned by chance;
        ``"frame"``, the whole date. ``"gap"``: all that is seen within blocks of days.
    causal
        Whether methods may lean only on what came before; both ways by default. Methods that cannot be
        causal are run two-sided only.
    gaps
        Days of the blocks of ``"gap"``, called ``"gap45"`` and so on. By default those of 30, 45 and 90
        that the series can hold with clear dates on both sides.
    rounds
        How often this is repeated with other dates. One round hides a fifth of them, five hide each
        once.
    seed
        Of all that is chance.
    daily
        Whether to fill every day too, with nothing hidden, to measure ``roughness`` and ``seam``.
    by
        What to tell apart besides mask, causal and method; see :func:`~s2cube.summarize_gap_filling`.
    details
        Return the sums by date, band and days instead, of which
        :func:`~s2cube.summarize_gap_filling` and :func:`~s2cube.compare_gap_filling` make tables.
    progress
        Whether to show it.

    Returns
    -------
    pandas.DataFrame
        One row by ``mask``, ``causal``, ``method`` and `by`, with

        - ``n``, hidden values compared, and ``dates``; ``missing``, the share of hidden pixels that the
          method gave no value;
        - ``mae``, ``rmse``, ``bias`` (filled minus truth) in reflectance, over all bands; ``low`` and
          ``high``, 95 % of ``mae`` when whole dates are drawn (bootstrap), NaN with one date;
        - ``ndvi``, its mean absolute error; ``sam``, the mean spectral angle, degrees; ``ssim``, the
          structural similarity around hidden pixels (windows of 7 × 7 px that are all truth or filled);
        - ``step``: how far filled values are from the clear look before them, as a multiple of what
          hidden ones are: series that are no rougher than the looks have 1 or less;
        - ``in68``, ``in95``: how often the truth lies within the interval, where a method gives
          ``<band>_uncertainty`` (half width, 68 %) and ``<band>_uncertainty95``;
        - ``roughness``: how much daily series change in all, as a multiple of what their clear looks do:
          1 for a straight line between them; ``seam``: the largest step between neighbouring rows or
          columns of filled frames, beside that of looks, as a multiple of the median: between 1 and
          2.5 without seams (compare methods);
        - ``floor``, the mean absolute difference of clear looks at most three days apart. Hidden looks
          carry noise themselves: a method that knew the ground would still be off by 0.7 of it.

    Raises
    ------
    CubeError
        Unknown names, too few clear dates to hide any, no cloud to move, or a method of yours returned
        something else.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1).s2.mask_clouds("scl")
    >>> table = s2cube.evaluate_gap_filling(
    ...     cube, ["last", "linear"], masks=["frame"], causal=False, progress=False
    ... )
    >>> table.set_index("method")["mae"].idxmin()
    'linear'
    """
    ways = [causal] if isinstance(causal, (bool, np.bool_)) else list(causal)
    asked = [masks] if isinstance(masks, str) else list(masks)
    if unknown := [name for name in asked if name not in MASKS]:
        raise CubeError(f"Unknown masks {unknown}; known: {', '.join(MASKS)}.")
    runners = contenders(methods, [bool(way) for way in ways])
    looks = looks_of(cube)
    work = _work(looks, runners, asked, gaps, rounds, seed, daily)
    table = _compute(work, progress)
    return table if details else summarize_gap_filling(table, by)


def _work(
    looks: Looks,
    runners: list[Contender],
    masks: list[str],
    gaps: Sequence[int] | None,
    rounds: int,
    seed: int,
    daily: bool,
) -> Iterator[tuple[str, list[Piece]]]:
    """Yield what is measured: words for it, and its pieces."""
    for trial in trials(looks, masks, gaps=gaps, rounds=rounds, seed=seed):
        shown = Shown(looks, trial)
        for runner in runners:
            yield f"{trial.mask}: {runner}", trial_pieces(shown, runner)
    yield "noise floor", floor_pieces(looks)
    if daily:
        yield from daily_pieces(looks, runners)


def _compute(work: Iterator[tuple[str, list[Piece]]], progress: bool) -> "pd.DataFrame":
    """Return the details of all that is to be measured; what is lazy is computed together."""
    import pandas as pd

    pieces: list[Piece] = []
    for words, made in work:
        pieces += made
        if progress and not any(is_lazy(array) for piece in made for array in piece.arrays):
            print(words, file=sys.stderr)
    found = [piece.arrays for piece in pieces]
    if any(is_lazy(array) for arrays in found for array in arrays):
        from dask.base import compute

        # In one go, so that each block is read once, whatever the number of methods and masks.
        with progress_bar(progress):
            found = list(compute(*found))
    tables = [piece.finish(*arrays) for piece, arrays in zip(pieces, found, strict=True)]
    return pd.concat([table for table in tables if len(table)], ignore_index=True)
