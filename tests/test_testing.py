"""The simulated cube is believable, and the same for the same seed."""

import numpy as np
import pytest
from compare import assert_same

import s2cube
from s2cube.errors import CubeError
from s2cube.testing import simulate_cube


def test_same_seed_same_cube() -> None:
    assert_same(simulate_cube(shape=(9, 8), seed=5), simulate_cube(shape=(9, 8), seed=5))
    assert not simulate_cube(shape=(9, 8), seed=5).equals(simulate_cube(shape=(9, 8), seed=6))


def test_lazy_is_the_same() -> None:
    lazy = simulate_cube(shape=(9, 8), chunks={"time": 4})
    assert hasattr(lazy["B04"].data, "dask")
    assert_same(lazy, simulate_cube(shape=(9, 8)))


def test_it_is_believable() -> None:
    cube = simulate_cube(shape=(64, 64), seed=1, bands=["blue", "red", "nir", "B8A", "swir16", "B12"])
    s2cube.validate(cube, scl=True, level="L2A")
    classes = set(np.unique(cube["SCL"]).tolist())
    assert {3, 4, 5, 6, 8, 9, 10} <= classes
    clear = cube.s2.mask_clouds("scl")
    share = clear["B04"].notnull().mean(("y", "x"))
    assert 0.3 < float(share.mean()) < 0.8
    assert float(share.min()) == 0
    assert float(share.max()) == 1
    crops = clear.where(cube["SCL"] == 4)
    ndvi = (crops["B08"] - crops["B04"]) / (crops["B08"] + crops["B04"])
    month = ndvi.groupby("time.month").median(...)
    assert float(month.sel(month=6)) > float(month.sel(month=12)) + 0.1, "there are seasons"
    water = clear.where(cube["SCL"] == 6)
    assert float(water["B12"].min()) < 0, "dark water may be negative"
    assert float(cube["B04"].where(cube["SCL"] == 9).median()) > 0.6, "clouds are bright"
    assert set(cube["platform"].values) == {"sentinel-2a", "sentinel-2b"}
    assert set(cube["relative_orbit"].values) == {36, 79}
    late = cube["time"].values >= np.datetime64("2022-01-25")
    assert set(cube["processing_baseline"].values[late]) == {"04.00"}
    assert set(cube["processing_baseline"].values[~late]) == {"03.01"}


def test_without_clouds_it_is_the_truth_under_them() -> None:
    cloudy, truth = (simulate_cube(shape=(32, 32), seed=3, cloud_cover=c, noise=0) for c in (0.4, 0))
    assert not (truth["SCL"].isin([3, 8, 9, 10])).any()
    clear = cloudy["SCL"].isin([4, 5, 6]).values
    # Under "clear" there may be cloud of up to 5 % opacity, as in nature.
    difference = np.abs(cloudy["B04"].values - truth["B04"].values)[clear]
    assert difference.max() < 0.05
    assert np.median(difference) == 0


def test_bad_input() -> None:
    with pytest.raises(CubeError, match="no Sentinel-2 band"):
        simulate_cube(bands=["infra"])
    with pytest.raises(CubeError, match="revisit"):
        simulate_cube(revisit=0)
    with pytest.raises(CubeError, match="No look between"):
        simulate_cube(start="2021-06-01", end="2021-05-01")
