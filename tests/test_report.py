"""``report``: one file, with what was given in it, and nothing fetched from elsewhere."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import xarray as xr

import s2cube
from s2cube.errors import CubeError


@pytest.fixture(scope="module")
def clear() -> xr.Dataset:
    cube = s2cube.testing.simulate_cube(seed=3, shape=(40, 36), bands=["B03", "B04", "B08"])
    return cube.s2.mask_clouds("scl")


@pytest.fixture(scope="module")
def daily(clear: xr.Dataset) -> xr.Dataset:
    return clear.s2.fill_gaps("linear")


class Page(HTMLParser):
    """What a browser would make of it: headings, and whether every element is closed."""

    VOID = frozenset({"meta", "br", "path", "use", "image", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.facts: dict[str, str] = {}
        self.links: list[str] = []
        self.drawings = 0
        self._name = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.drawings += tag == "svg"
        self.links += [told or "" for name, told in attrs if name in ("href", "src", "xlink:href")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [told or "" for name, told in attrs if name in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if self.open and self.open[-1] == "dt":
            self._name = data
        if self.open and self.open[-1] == "dd":
            self.facts[self._name] = data


def test_the_whole_of_a_run(clear: xr.Dataset, daily: xr.Dataset, tmp_path: Path) -> None:
    written = daily.s2.write_daily(tmp_path / "daily.zarr", progress=False)
    table = clear.s2.evaluate_gap_filling(["last", "linear"], daily=False, progress=False)
    by_days = clear.s2.evaluate_gap_filling(["last", "linear"], by="days", daily=False, progress=False)
    verified = s2cube.verify(tmp_path / "daily.zarr", progress=False)
    path = s2cube.report(
        [clear, daily, written, verified, table, by_days], tmp_path / "run.html", progress=False
    )
    text = path.read_text()
    page = Page(text)
    assert page.headings == [
        "What was seen", "What was filled", "Filled frames beside the truth",
        "How far filled values are off", "Written", "Verified", "How it was made",
    ]  # fmt: skip
    assert page.drawings == 8
    assert page.facts["looks"] == str(clear.sizes["time"])
    assert page.facts["days"] == str(daily.sizes["time"])
    observed = float((daily["provenance"] == 0).mean())
    assert page.facts["observed"] == f"{observed:.1%} of all values"
    # Nothing is fetched: all there is lies in the file.
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "<script" not in text
    # What a drawing calls its parts must be its own on a page of many.
    names = re.findall(r'<clipPath id="([^"]+)"', text)
    assert len(names) == len(set(names))


def test_lazy_cubes_tell_the_same(clear: xr.Dataset, daily: xr.Dataset, tmp_path: Path) -> None:
    whole = s2cube.report([clear, daily], tmp_path / "whole.html", progress=False).read_text()
    lazy = [cube.chunk({"time": 20, "y": 20, "x": 20}) for cube in (clear, daily)]
    assert s2cube.report(lazy, tmp_path / "lazy.html", progress=False).read_text() == whole


def test_a_write_report_opens_its_store(daily: xr.Dataset, tmp_path: Path) -> None:
    written = daily.s2.write_daily(tmp_path / "daily.zarr", progress=False)
    page = Page(s2cube.report(written, tmp_path / "run.html", progress=False).read_text())
    assert page.headings == ["What was filled", "Written", "How it was made"]


def test_an_evaluation_alone(clear: xr.Dataset, tmp_path: Path) -> None:
    table = clear.s2.evaluate_gap_filling(["last"], masks="frame", daily=False, progress=False)
    page = Page(s2cube.report(table, tmp_path / "run.html", title="a <b>", progress=False).read_text())
    assert page.headings == ["How far filled values are off"]


def test_hidden_frames_were_not_shown_to_the_method(clear: xr.Dataset, tmp_path: Path) -> None:
    page = s2cube.report(clear, tmp_path / "run.html", fill={"method": "last"}, progress=False)
    errors = [float(found) for found in re.findall(r"mean error ([\d.]+)", page.read_text())]
    assert len(errors) == 3
    assert min(errors) > 0


def test_what_is_shown_is_not_run(clear: xr.Dataset, daily: xr.Dataset, tmp_path: Path) -> None:
    """Titles and attributes may come from others, with the data."""
    evil = '"><script>alert(1)</script>'
    cube = daily.isel(time=slice(3)).assign_attrs(history=evil)
    table = clear.s2.evaluate_gap_filling(["last"], daily=False, progress=False)
    table["method"] = evil
    text = s2cube.report(
        [cube, table], tmp_path / "run.html", title=evil, hidden=0, progress=False
    ).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 3


def test_no_frames(clear: xr.Dataset, tmp_path: Path) -> None:
    page = Page(s2cube.report(clear, tmp_path / "run.html", hidden=0, progress=False).read_text())
    assert page.headings == ["What was seen", "How it was made"]


def test_what_cannot_be_reported(clear: xr.Dataset, daily: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(CubeError, match="nothing to report"):
        s2cube.report([], tmp_path / "run.html")
    with pytest.raises(CubeError, match="got str"):
        s2cube.report(["run"], tmp_path / "run.html")
    with pytest.raises(CubeError, match="of one kind"):
        s2cube.report([daily, daily], tmp_path / "run.html")
    table = clear.s2.evaluate_gap_filling(["last"], masks="frame", daily=False, progress=False)
    with pytest.raises(CubeError, match="no causal"):
        s2cube.report(table.drop(columns="causal"), tmp_path / "run.html")
    assert not (tmp_path / "run.html").exists()
