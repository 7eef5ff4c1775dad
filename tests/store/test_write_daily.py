"""The writer: right values, and nothing lost on the way."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from compare import PIECES, assert_same, files

import s2cube
from s2cube import schema
from s2cube.errors import CubeError, StoreError, StoreMismatchError
from s2cube.kernels.counts import encode
from s2cube.schema import Provenance, Status
from s2cube.store.ledger import Ledger
from s2cube.store.run import region
from s2cube.store.run import workers as run
from s2cube.store.target import open_target


def test_comes_back_to_the_last_count(daily: xr.Dataset, tmp_path: Path) -> None:
    report = daily.s2.write_daily(tmp_path / "d.zarr", **PIECES)
    assert (report.written, report.kept, report.days) == (2, 0, 20)
    back = s2cube.open_daily(tmp_path / "d.zarr")
    memory = daily.compute()
    for band in ("B04", "B08"):
        counts = encode(memory[band].values)
        expected = np.where(counts == -32768, np.nan, counts / 10_000).astype(np.float32)
        np.testing.assert_array_equal(back[band].values, expected)
        assert back[band].dtype == np.float32
    assert (memory["B04"].values < 0).any(), "negative reflectance is data"
    for name in ("provenance", "clear_age"):
        np.testing.assert_array_equal(back[name].values, memory[name].values)
        assert back[name].dtype == daily[name].dtype
    for name in ("time", "y", "x"):
        np.testing.assert_array_equal(back[name].values, daily[name].values)
    assert back["sensor"] == "sentinel-2"
    assert back["processing_level"] == "L2A"
    assert back.attrs["history"].startswith(daily.attrs["history"] + "\nopen_daily(")
    shares = [report.observed, report.filled, report.never_observed]
    assert sum(shares) == pytest.approx(1)
    assert report.never_observed == pytest.approx(
        float((memory["provenance"] == Provenance.NEVER_OBSERVED).mean())
    )
    assert "20 days" in str(report)


def test_what_is_on_disk(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    group = zarr.open_group(store, mode="r")
    for name in ("B04", "B08"):
        array = group[name]
        assert array.dtype == np.int16
        assert array.fill_value == -32768
        assert array.attrs["_FillValue"] == -32768
        assert array.attrs["scale_factor"] == 1e-4
        assert array.attrs["grid_mapping"] == "spatial_ref"
        assert array.shards == (20, 256, 256)
        assert str(array.compressors[-1]).startswith("Crc32c")
    assert group["provenance"].fill_value == Provenance.NEVER_OBSERVED
    assert "_FillValue" not in group["provenance"].attrs
    assert group["clear_age"].fill_value == schema.NO_AGE
    # Blocks without any data are written too: absent would look like lost.
    assert (store / "B04" / "c" / "0" / "1" / "2").exists()
    assert not (tmp_path / "d.zarr.s2cube").exists(), "the work folder is gone when all is done"
    assert list(Ledger(open_target(store)).marks()) == ["y0-300_x0-512", "y0-300_x512-530"]


def test_others_read_it_right(daily: xr.Dataset, tmp_path: Path) -> None:
    import odc.geo.xr  # noqa: F401
    import rioxarray  # noqa: F401

    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    ours = s2cube.open_daily(store)
    for how in ({}, {"decode_coords": "all"}, {"consolidated": False}):
        plain = xr.open_zarr(store, **how)
        np.testing.assert_allclose(plain["B08"].values, ours["B08"].values, rtol=1e-6)
        assert plain["provenance"].dtype == np.uint8
        assert plain["clear_age"].dtype == np.int16
        assert plain.rio.crs.to_epsg() == plain.odc.crs.epsg == 32633
        assert plain["B04"].rio.crs.to_epsg() == plain["B04"].odc.crs.epsg == 32633
        assert plain.rio.transform() == plain.odc.transform == schema.geobox_of(daily).transform
    assert ours.rio.crs.to_epsg() == ours["B08"].odc.crs.epsg == 32633


def test_readers_of_geozarr_find_grid_and_crs(daily: xr.Dataset, tmp_path: Path) -> None:
    """In the group and in each array; cubes do not carry them, of a part they would be wrong."""
    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    geobox = schema.geobox_of(daily)
    group = zarr.open_group(store, mode="r")
    for node in (group, *(group[name] for name in ("B04", "provenance", "clear_age"))):
        told = dict(node.attrs)
        assert [one["name"] for one in told["zarr_conventions"]] == ["proj:", "spatial:"]
        assert told["proj:code"] == "EPSG:32633"
        assert told["spatial:dimensions"] == ["y", "x"]
        assert told["spatial:transform"] == list(geobox.transform[:6])
        assert told["spatial:shape"] == [300, 530]
        assert told["spatial:bbox"] == list(geobox.boundingbox.bbox)
    cube = s2cube.open_daily(store)
    for attrs in (cube.attrs, *(array.attrs for array in cube.values())):
        assert not [key for key in attrs if ":" in key or key == "zarr_conventions"]


def test_gdal_reads_it_right_or_not_at_all(daily: xr.Dataset, tmp_path: Path) -> None:
    """Shards came with GDAL 3.13: before, its driver says so, and gives no pixels."""
    import rasterio

    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    address = f'ZARR:"{store}":/B04'
    if tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) < (3, 13):
        with pytest.raises(rasterio.errors.RasterioIOError, match="sharding_indexed"):
            rasterio.open(address)
        return
    with rasterio.open(address) as image:
        assert image.crs.to_epsg() == 32633
        assert image.transform == schema.geobox_of(daily).transform
        assert image.nodata == -32768
        np.testing.assert_array_equal(image.read(1), encode(daily["B04"][0].values))


def test_a_stac_item_lies_beside_it(daily: xr.Dataset, tmp_path: Path) -> None:
    import pystac

    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    item = pystac.Item.from_file(f"{store}.item.json")
    assert item.id == "d"
    assert item.properties["proj:code"] == "EPSG:32633"
    assert item.properties["start_datetime"] == "2021-06-01T00:00:00Z"
    href = item.assets["data"].get_absolute_href()
    assert href == str(store)
    xr.testing.assert_identical(
        xr.open_zarr(
            href, consolidated=item.assets["data"].extra_fields["xarray:open_kwargs"]["consolidated"]
        ),
        xr.open_zarr(store),
    )
    first = Path(f"{store}.item.json").read_bytes()
    daily.s2.write_daily(store, overwrite=True, **PIECES)
    assert Path(f"{store}.item.json").read_bytes() == first
    Path(f"{store}.item.json").write_text("my notes")
    daily.s2.write_daily(store, overwrite=True, **PIECES)
    assert Path(f"{store}.item.json").read_text() == "my notes"


def test_an_array_that_another_program_has_changed(small: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    small.s2.write_daily(store, **PIECES)
    (store / "B04" / "c" / "0" / "0" / "0").unlink()
    path = store / "B04" / "zarr.json"
    path.write_text(path.read_text().replace('"int16"', '"int32"'))
    with pytest.raises(StoreError, match=r"B04 of .* is int32 .* it was made as int16"):
        small.s2.write_daily(store, **PIECES)


def test_second_run_recomputes_nothing(daily: xr.Dataset, tmp_path: Path) -> None:
    import dask

    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    before = files(tmp_path)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=never):
        report = daily.s2.write_daily(store, **PIECES)
    assert (report.written, report.kept) == (0, 2)
    assert report.counts["interpolated"] > 0
    assert files(tmp_path) == before


def test_profile_and_region_size_change_no_value(daily: xr.Dataset, tmp_path: Path) -> None:
    daily.s2.write_daily(tmp_path / "a.zarr", **PIECES)
    daily.s2.write_daily(tmp_path / "b.zarr", profile="balanced", progress=False)
    one, two = (s2cube.open_daily(tmp_path / f"{name}.zarr") for name in "ab")
    assert_same(one.drop_attrs(), two.drop_attrs())


def test_an_area_without_any_look_is_written_too(tmp_path: Path) -> None:
    """Beyond a swath's edge there is nothing: such shards must finish, and be told from lost ones."""
    cube = s2cube.testing.simulate_cube(shape=(600, 300), seed=2, bands=["red"], end="2021-08-01")
    cube["B04"][:, 250:] = np.nan
    daily = cube.s2.mask_clouds("scl").s2.fill_gaps("linear", freq="5D")
    store = tmp_path / "d.zarr"
    assert daily.s2.write_daily(store, **PIECES).written == 2
    assert daily.s2.write_daily(store, **PIECES).written == 0
    back = s2cube.open_daily(store)
    assert back["B04"][:, 250:].isnull().all()
    assert (back["provenance"][:, 250:] == Provenance.NEVER_OBSERVED).all()
    assert back["B04"][:, :250].notnull().any(("x", "time")).all()
    nothing = cube.where(False).astype("f4").assign(cube[["SCL", "status"]])
    report = nothing.s2.fill_gaps("linear", freq="5D").s2.write_daily(tmp_path / "n.zarr", **PIECES)
    assert report.never_observed == 1
    # One such file appearing, or one with data vanishing, is noticed.
    ledger = Ledger(open_target(store))
    mark = next(iter(ledger.marks().values()))
    assert ledger.holds(mark)
    (store / next(name for name, facts in mark.files.items() if facts)).unlink()
    assert not ledger.holds(mark)


def test_other_settings_are_refused_and_nothing_is_lost(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    before = files(tmp_path)
    first, second = (str(day.astype("datetime64[D]")) for day in daily["time"].values[:2])
    cases = [
        (daily.isel(time=slice(1, None)), PIECES, r"another layout \(shape 20 x .*, now 19 x "),
        (daily.isel(time=slice(1, None)), PIECES, f"days {first} to .*, now {second} to "),
        (daily.isel(x=slice(5, None)), PIECES, "pixels of 10 from x .*, now pixels of 10 from x "),
        (daily[["B04", "provenance", "clear_age"]], PIECES, "now B04, provenance, clear_age"),
        (daily, {**PIECES, "profile": "balanced"}, "profile series, now balanced"),
        (daily, {**PIECES, "region_size": 100}, "region"),
        (schema.record(daily, "brighten", by=2), PIECES, "brighten"),
        (daily.assign(B04=daily["B04"] * np.float32(2)), PIECES, "steps in between"),
        (daily, {**PIECES, "resume": False}, "resume=False"),
    ]
    for cube, how, message in cases:
        with pytest.raises(StoreMismatchError, match=message) as caught:
            cube.s2.write_daily(store, **how)
        assert "overwrite=True" in str(caught.value)
    assert files(tmp_path) == before
    report = daily.isel(time=slice(1, None)).s2.write_daily(store, overwrite=True, **PIECES)
    assert (report.written, report.days) == (2, 19)
    assert s2cube.open_daily(store).sizes["time"] == 19


def test_a_store_is_not_written_onto_itself(daily: xr.Dataset, tmp_path: Path) -> None:
    store = tmp_path / "d.zarr"
    daily.s2.write_daily(store, **PIECES)
    before = files(tmp_path)
    part = s2cube.open_daily(store).isel(time=slice(0, 9))
    for overwrite in (False, True):
        with pytest.raises(CubeError, match="would read what it overwrites"):
            part.s2.write_daily(store, overwrite=overwrite, **PIECES)
    assert files(tmp_path) == before
    assert part.s2.write_daily(tmp_path / "part.zarr", **PIECES).days == 9


def test_places_where_no_store_can_be(daily: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken.zarr.s2cube").write_text("")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "nowhere")
    for place in (
        tmp_path / "file" / "d.zarr",
        tmp_path / "taken.zarr",
        tmp_path / "link.zarr",
        "/",
        None,
        b"d",
    ):
        with pytest.raises(StoreError):
            daily.s2.write_daily(place, **PIECES)
    with pytest.raises(StoreError, match="no store at"):
        s2cube.open_daily(tmp_path / "file")


def test_reads_that_failed_are_counted(tmp_path: Path) -> None:
    """A look that could not be read is filled like a cloud, but never silently."""
    cube = s2cube.testing.simulate_cube(shape=(20, 20), seed=2, bands=["red"], end="2021-08-01")
    cube["status"][3, :5] = Status.READ_FAILED
    cube["status"][5, :2] = Status.READ_FAILED
    daily = cube.s2.mask_clouds("scl").s2.fill_gaps("linear", freq="5D")
    report = daily.s2.write_daily(tmp_path / "d.zarr", progress=False)
    assert report.counts["failed_looks"] == 7 * 20
    assert "140 looks at a pixel" in str(report)
    failed = s2cube.open_daily(tmp_path / "d.zarr")["failed_looks"]
    assert failed.dims == ("y", "x")
    np.testing.assert_array_equal(failed.values[:, 0], [2, 2, 1, 1, 1] + [0] * 15)


def test_what_is_not_ours_is_never_touched(daily: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    (tmp_path / "file").write_text("too")
    foreign = tmp_path / "foreign.zarr"
    zarr.open_group(foreign, mode="w").create_array("a", shape=(2,), dtype="i4")
    before = files(tmp_path)
    for name in ("thesis", "file", "foreign.zarr"):
        for overwrite in (False, True):
            with pytest.raises(StoreMismatchError, match="not made by s2cube"):
                daily.s2.write_daily(tmp_path / name, overwrite=overwrite, **PIECES)
    assert files(tmp_path) == before
    with pytest.raises(StoreError, match="did not make it"):
        s2cube.open_daily(foreign)
    with pytest.raises(StoreError, match="no store at"):
        s2cube.open_daily(tmp_path / "nothing.zarr")


def test_bad_input(daily: xr.Dataset, cube: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(CubeError, match="is not filled"):
        cube.s2.write_daily(tmp_path / "d.zarr")
    with pytest.raises(CubeError, match="profile is one of series, balanced"):
        daily.s2.write_daily(tmp_path / "d.zarr", profile="wide")
    with pytest.raises(CubeError, match="above 0"):
        daily.s2.write_daily(tmp_path / "d.zarr", region_size=0)
    with pytest.raises(StoreError, match=r"in folders and at s3://bucket/name .*, not at gs://"):
        daily.s2.write_daily("gs://bucket/d.zarr")
    with pytest.raises(StoreError, match="storage_options are for stores at s3://"):
        daily.s2.write_daily(tmp_path / "d.zarr", storage_options={"region": "eu-central-1"})
    for fraction in (-0.1, 1.5, "all", True):
        with pytest.raises(CubeError, match="max_failed_fraction is a share"):
            daily.s2.write_daily(tmp_path / "d.zarr", max_failed_fraction=fraction)
    wrong = daily.assign(provenance=daily["provenance"].astype("i4"))
    with pytest.raises(CubeError, match="'provenance' is int32, a filled cube holds uint8"):
        wrong.s2.write_daily(tmp_path / "d.zarr")
    assert not list(tmp_path.iterdir())


def test_a_region_owns_whole_shards(daily: xr.Dataset, tmp_path: Path) -> None:
    from s2cube.plan import Region

    daily.s2.write_daily(tmp_path / "d.zarr", **PIECES)
    ledger = Ledger(open_target(tmp_path / "d.zarr"))
    layout = (ledger.attributes() or {})["s2cube"]["layout"]
    job = run.Job(ledger, layout, "token", Region(slice(0, 256), slice(100, 356)))
    with pytest.raises(StoreError, match="two owners of one shard"):
        region.store_blocks(run.Cut(daily).ship(job)(), job)


def test_progress_is_shown_and_can_be_silenced(
    daily: xr.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daily.s2.write_daily(tmp_path / "a.zarr", **{**PIECES, "progress": False})
    assert capsys.readouterr() == ("", "")
    daily.s2.write_daily(tmp_path / "b.zarr", **{**PIECES, "progress": True})
    shown = capsys.readouterr()
    assert "2 of 2 regions of 20 days" in shown.err
