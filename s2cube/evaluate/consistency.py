"""``check_masks``: what a series tells about its masks, without labels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from s2cube import schema
from s2cube.blocks import count_steps, is_lazy, map_time, progress_bar
from s2cube.errors import CubeError
from s2cube.evaluate.masks import Mask, statuses_of
from s2cube.kernels.consistency import FACTS, consistency
from s2cube.schema import PROVENANCE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_masks"]

BLUE: Final = "B02"
INFRARED: Final = ("B08", "B8A")
WHITE: Final = {"L1C": 0.2}
"""Blue reflectance of a bright target: more where the air shines too."""
WHITE_GROUND: Final = 0.15
COLUMNS: Final = (
    "mask", "looks", "clear", "tested", "outside", "bright", "dark", "triples", "spikes", "usual",
    "commission",
)  # fmt: skip


def check_masks(
    cube: xr.Dataset, masks: Mask | Mapping[str, Mask], *, progress: bool = True
) -> "pd.DataFrame":
    """Hold masks against the series that they mask, without labels. Computes, in one pass.

    Parameters
    ----------
    cube
        A cube of several months, **not masked**, with B02 and B08 (or B8A).
    masks
        One, or several by name, as for :func:`~s2cube.evaluate_masks`. Compared together they share one
        yardstick, so give all at once.
    progress
        Whether to show how far computing is.

    Returns
    -------
    pandas.DataFrame
        One row a mask; shares are NaN where nothing could be tested.

        - ``mask``; ``looks``, number of looks that all masks have; ``clear``, the share called clear
          (land or water, not snow).
        - ``tested``, number of clear looks at pixels whose range is known; ``outside``, the share of
          them that leaves the place's own range, by more than 5 median absolute deviations from the
          median over time, in blue or near infrared; ``bright``, above it in blue (missed cloud, haze,
          or snow); ``dark``, below it in the near infrared (missed shadow, or a flood, fire or harvest).
        - ``triples``, number of clear looks with a clear one before and after, at most 60 days apart;
          ``spikes``, the share of them above the line between the two by more than 0.04 in blue, or
          below it by more than 0.10 in the near infrared.
        - ``usual``, number of looks at bright stable targets that show them as they usually are;
          ``commission``, the share of them that is masked.

    Raises
    ------
    CubeError
        It is no cube, lacks a band, has been filled, or a mask does not fit it.

    Notes
    -----
    None of these is an error by itself; they compare masks on the same looks.

    - ``outside``: median and deviation are those of the looks that more than half of the masks call
      clear (with one mask, its own; ten of them at least). They hold the whole season, so that fields
      hide more than forest does; a mask that lets half of the clouds through hides them itself. A mask
      that calls little clear does well here: read it together with ``clear``.
    - ``spikes`` see what lasts for one look. Two cloudy looks in a row, or haze, hide each other. Snow
      that came and went, and mowing, are spikes of their own.
    - ``commission``: targets are bright (10th percentile of all looks in blue above 0.15, at level 1C
      0.2) and stable (to the 30th percentile), so at least a third of their looks must be clear. Roofs,
      sand, rock, and snow that stays. Thin cloud over them may look usual. Where there are none, NaN.

    Examples
    --------
    >>> import s2cube
    >>> cube = s2cube.testing.simulate_cube(seed=1)
    >>> masks = {"scl": s2cube.cloud_mask(cube), "none": cube["B02"] > 2}
    >>> table = s2cube.check_masks(cube, masks).set_index("mask")
    >>> bool(table.loc["scl", "bright"] < table.loc["none", "bright"])
    True
    """
    import pandas as pd

    cube = schema.validate(cube, bands=[BLUE])
    if PROVENANCE in cube:
        raise CubeError("The cube has been filled, so its dates are no looks: check masks before that.")
    held = schema.bands_of(cube)
    near = next((band for band in INFRARED if band in held), None)
    if near is None:
        raise CubeError(f"This needs B08 or B8A; the cube holds {', '.join(held)}.")
    named = statuses_of(masks, like=cube)
    level = str(cube.coords["processing_level"].item()) if "processing_level" in cube.coords else ""
    counts: Any = count_steps(
        map_time(
            consistency,
            cube[BLUE].data,
            cube[near].data,
            *named.values(),
            length=len(FACTS) * len(named),
            dtype=np.int32,
            days=schema.solar_days(cube),
            white=WHITE.get(level, WHITE_GROUND),
        )
    )
    if is_lazy(counts):
        with progress_bar(progress):
            counts = counts.compute()
    rows = [
        _row(name, dict(zip(FACTS, map(int, facts), strict=True)))
        for name, facts in zip(named, counts.reshape(len(named), len(FACTS)), strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(name: str, facts: dict[str, int]) -> tuple[object, ...]:
    def share(part: str, whole: str) -> float:
        return facts[part] / facts[whole] if facts[whole] else float("nan")

    return (
        name,
        facts["looks"],
        share("clear", "looks"),
        facts["tested"],
        *(share(word, "tested") for word in ("outside", "bright", "dark")),
        facts["triples"],
        share("spikes", "triples"),
        facts["usual"],
        share("usual_masked", "usual"),
    )
