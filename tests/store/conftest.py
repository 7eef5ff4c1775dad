"""What the tests of the store write, and where."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from buckets import bucket_served, environment

import s2cube


@pytest.fixture(scope="module")
def daily() -> xr.Dataset:
    """Four regions of which some pixels are never seen: chunks that are computed, as most tests write
    them again and again."""
    cube = s2cube.testing.simulate_cube(
        shape=(300, 530),
        seed=2,
        bands=["red", "nir"],
        start="2021-06-01",
        end="2021-08-01",
        chunks={"time": 1},
    )
    # A dark corner that is never seen clear, and negative reflectance.
    red = cube["B04"].where((cube["x"] > cube["x"][5]) | (cube["y"] < cube["y"][5])) - np.float32(0.03)
    cube["B04"] = red.astype("f4").assign_attrs(cube["B04"].attrs)
    return (
        cube.s2.mask_clouds("scl")
        .s2.fill_gaps("linear", freq="3D")
        .chunk(time=-1, y=150, x=200)
        .persist()
    )


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    """Four regions of few days: for what is done to whole stores again and again."""
    cube = s2cube.testing.simulate_cube(
        shape=(300, 520), seed=5, bands=["red"], start="2021-06-01", end="2021-06-20"
    )
    return (
        cube.s2.mask_clouds("scl")
        .s2.fill_gaps("linear", freq="5D")
        .chunk(time=-1, y=150, x=260)
        .persist()
    )


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """A service that speaks S3, on loopback, with a bucket named "bucket"; its address."""
    pytest.importorskip("obstore", reason="needs the extra 's3'")
    pytest.importorskip("moto.server", reason="needs moto's server")
    with bucket_served() as address:
        yield address


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A prefix of its own in the bucket, with the credentials in the environment as usual."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in environment(moto).items():
        monkeypatch.setenv(name, value)
    place = "".join(sign if sign.isalnum() else "-" for sign in request.node.name)
    return f"s3://bucket/{place}"


@pytest.fixture(scope="module")
def causal() -> xr.Dataset:
    """Twenty-seven days of two regions, as a daily job makes them, causally."""
    cube = s2cube.testing.simulate_cube(
        shape=(40, 300), seed=5, bands=["red"], start="2021-06-01", end="2021-07-10"
    )
    filled = cube.s2.mask_clouds("scl").s2.fill_gaps("last", causal=True)
    return filled.isel(time=slice(0, 27)).compute()


@pytest.fixture(params=["folder", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "folder" else str(request.getfixturevalue("s3"))
