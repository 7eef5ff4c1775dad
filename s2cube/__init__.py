"""Sentinel-2 as analysis-ready, gap-free daily cubes.

>>> import s2cube
>>> cube = s2cube.testing.simulate_cube(seed=1)
>>> daily = cube.s2.mask_clouds("scl", buffer=60).s2.fill_gaps(freq="1D")
"""

from s2cube import testing
from s2cube._accessor import S2Accessor
from s2cube.composites import count, geomedian, median, percentile
from s2cube.emulate import L2ASpec, fit_l2a, to_l2a
from s2cube.evaluate import (
    check_masks,
    check_offsets,
    compare_gap_filling,
    evaluate_gap_filling,
    evaluate_l2a,
    evaluate_masks,
    seam_score,
    summarize_gap_filling,
)
from s2cube.export import write_cogs
from s2cube.gapfill import fill_gaps, fit_gap_filler
from s2cube.job import DailyBuilder, DailyJob, read_job
from s2cube.masks import clear_share, cloud_mask, combine_masks, mask_agreement, mask_clouds
from s2cube.mosaic import mosaic_orbits
from s2cube.plan import Explanation, explain
from s2cube.plot import plot_gap_filling, plot_masks, plot_series, plot_true_color
from s2cube.report import report
from s2cube.schema import items, validate
from s2cube.sources import (
    PROFILES,
    ClearSkyEstimate,
    PlanetaryComputer,
    Product,
    Profile,
    Signed,
    as_cube,
    estimate_clearsky,
    open_clearsky,
    open_local,
    open_stac,
    reflectance_offset,
    save_items,
    search,
)
from s2cube.store import (
    RegionsPlan,
    VerifyReport,
    WriteReport,
    append_daily,
    explain_regions,
    open_daily,
    verify,
    write_daily,
    write_daily_regions,
)

__version__ = "0.1.0"

__all__ = [
    "PROFILES",
    "ClearSkyEstimate",
    "DailyBuilder",
    "DailyJob",
    "Explanation",
    "L2ASpec",
    "PlanetaryComputer",
    "Product",
    "Profile",
    "RegionsPlan",
    "S2Accessor",
    "Signed",
    "VerifyReport",
    "WriteReport",
    "__version__",
    "append_daily",
    "as_cube",
    "check_masks",
    "check_offsets",
    "clear_share",
    "cloud_mask",
    "combine_masks",
    "compare_gap_filling",
    "count",
    "estimate_clearsky",
    "evaluate_gap_filling",
    "evaluate_l2a",
    "evaluate_masks",
    "explain",
    "explain_regions",
    "fill_gaps",
    "fit_gap_filler",
    "fit_l2a",
    "geomedian",
    "items",
    "mask_agreement",
    "mask_clouds",
    "median",
    "mosaic_orbits",
    "open_clearsky",
    "open_daily",
    "open_local",
    "open_stac",
    "percentile",
    "plot_gap_filling",
    "plot_masks",
    "plot_series",
    "plot_true_color",
    "read_job",
    "reflectance_offset",
    "report",
    "save_items",
    "seam_score",
    "search",
    "summarize_gap_filling",
    "testing",
    "to_l2a",
    "validate",
    "verify",
    "write_cogs",
    "write_daily",
    "write_daily_regions",
]
