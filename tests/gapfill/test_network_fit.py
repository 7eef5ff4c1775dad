"""fit_gap_filler: it learns what can be learnt, and refuses to return what is no better."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from networks import gate

import s2cube
from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill import fit, fit_gap_filler, hidden, lessons
from s2cube.gapfill.cells import CELL, PATCH
from s2cube.gapfill.quantiles import count_quantiles, width
from s2cube.models import train_gate
from s2cube.models.train_gate import Cell
from s2cube.schema import Provenance

pytest.importorskip("torch", reason="needs the extra 'torch'")
pytest.importorskip("safetensors", reason="needs the extra 'torch'")

QUIET: dict[str, Any] = {"device": "cpu", "progress": False, "epochs": 1, "rounds": 2, "width": 4}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, and few of them."""
    monkeypatch.setattr(train_gate, "BATCH", 4)
    monkeypatch.setattr(train_gate, "STEPS", 15)
    monkeypatch.setattr(train_gate, "DECAY", 0.8)
    monkeypatch.setattr(train_gate, "RATE", 0.02)
    monkeypatch.setattr(fit, "DATES", 3)


def place(seed: int = 3, shape: tuple[int, int] = (40, 40), end: str = "2021-12-31") -> xr.Dataset:
    bands = ["red", "nir"]
    cube = s2cube.testing.simulate_cube(shape=shape, seed=seed, bands=bands, end=end, start="2021-01-01")
    return cube.s2.mask_clouds("scl")


@pytest.fixture(scope="module")
def clear() -> xr.Dataset:
    return place()


@pytest.fixture(scope="module")
def made(clear: xr.Dataset) -> list[Cell]:
    """What is taught of the cube."""
    (found,) = lessons.places_of([clear], None, 1, np.random.default_rng(0))
    how: dict[str, Any] = {"causal": False, "rounds": 2, "seed": 0, "tell": lambda _: None}
    return list(lessons.teach(found[0], 0, **how))


def biased(cells: list[Cell], share: float = 0.5) -> list[Cell]:
    """Lessons that can be learnt: the truth lies between the best expert and the straight line."""
    margin = (PATCH - CELL) // 2
    inner = slice(margin, -margin)
    return [
        cell._replace(off=np.where(np.isnan(cell.off), cell.off, share * cell.own[:, 1, inner, inner]))
        for cell in cells
    ]


def test_what_is_taught_is_hidden_truth(clear: xr.Dataset, made: list[Cell]) -> None:
    """Only pixels that were clear, and that experts did not see, by how far these are off."""
    assert {cell.family for cell in made} == {"clouds", "frame", "gap"}
    days = schema.solar_days(clear)
    for cell in made:
        assert cell.own.shape == (2, 6, PATCH, PATCH)
        assert cell.shared.shape == (14, PATCH, PATCH)
        assert cell.off.shape == (2, CELL, CELL)
        known = np.isfinite(cell.off[0])
        assert known.any()
        step = int(np.flatnonzero(days == cell.date[1])[-1])
        assert clear["B04"].isel(time=step).notnull().values[:CELL, :CELL][known[:40, :40]].all()
        inner = cell.shared[1, 8:-8, 8:-8]
        assert not inner[known].any(), "the date was not clear there, for the experts"
    frames = [cell for cell in made if cell.family == "frame"]
    similar = clear.s2.fill_gaps("similar", freq="1D")
    errors = [np.nanmean(np.abs(cell.off) * cell.unit[:, None, None]) for cell in frames]
    assert 0.001 < np.mean(errors) < float(similar["B08"].std())


def train(taught: list[Cell], held_out: list[Cell], **how: Any) -> train_gate.Trained:
    told: dict[str, Any] = {"epochs": 4, "seed": 1, "tell": lambda _: None, **how}
    parameters = {"width": 4, "causal": False}
    return train_gate.train_gate(
        taught, held_out, parameters=parameters, shape=(20, 2), device="cpu", **told
    )


def test_it_learns_what_can_be_learnt(made: list[Cell]) -> None:
    told: list[str] = []
    cells = biased(made, 1.0)
    found = train(cells[::6], cells[1::6], tell=told.append)
    assert found.loss < 0.8
    assert found.epoch >= 2
    assert told[0].startswith("epoch 1 of 4: held-out error ")


def test_the_same_seed_gives_the_same_weights(made: list[Cell]) -> None:
    cells = biased(made, 1.0)
    one, again, other = (train(cells[:8], cells[:8], epochs=3, seed=seed).weights for seed in (1, 1, 2))
    assert one
    assert other
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not all(np.array_equal(one[name], other[name]) for name in one)


def test_it_stops_when_nothing_gets_better(made: list[Cell]) -> None:
    """What is held out contradicts what is taught: nothing learnt is best, and that is found soon."""
    told: list[str] = []
    found = train(biased(made, 1.0)[:12], biased(made[:12], -1.0), epochs=30, tell=told.append)
    assert (found.epoch, found.weights, found.loss) == (0, {}, 1.0)
    assert len(told) == train_gate.PATIENCE


def test_a_network_that_is_better(
    clear: xr.Dataset, made: list[Cell], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By lessons that can be learnt; what comes out fills, tells intervals, and knows its day."""
    monkeypatch.setattr(fit, "teach", lambda *_, **__: iter(biased(made)))
    facts: dict[str, Any] = {"name": "mine", "licence": "CC0", "notes": "a test"}
    spec = fit_gap_filler(clear, until="2021-11-30", **facts, **{**QUIET, "epochs": 8})
    assert (spec.name, spec.licence, spec.bands, spec.levels) == (
        "mine",
        "CC0",
        ("B04", "B08"),
        ("L2A",),
    )
    assert "2021-11-01" < spec.fitted_until <= "2021-11-30"
    assert spec.notes.startswith("a test (seed 0, epoch ")
    assert "of the error of 'similar' (95 %" in spec.notes
    assert len(spec.source) < 100_000
    found = clear.s2.fill_gaps(spec.save(tmp_path / "a.safetensors"), freq="30D", uncertainty=(68, 95))
    filled = (found["provenance"] == Provenance.NETWORK).values
    narrow, wide = (found[f"B08_uncertainty{level}"].values[filled] for level in ("", "95"))
    assert (narrow < wide).all()


def test_one_that_is_not_is_refused(
    clear: xr.Dataset, made: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing learnt at all, or not better where it was not even stopped by it."""
    monkeypatch.setattr(fit, "teach", lambda *_, **__: iter(made))
    trained = train_gate.Trained({}, 0, 1.0)
    monkeypatch.setattr(fit, "train_gate", lambda *_, **__: trained)
    with pytest.raises(CubeError, match=r"Nothing was learnt: .* 'similar' does as well"):
        fit_gap_filler(clear, **QUIET)
    trained = train_gate.Trained(gate(chance=1.0, width=4).weights(), 1, 0.9)
    words = r"not better than its experts: \d+ dates: .* \(95 %: .*clouds .*, frame .*, gap .*; other"
    with pytest.raises(CubeError, match=words):
        fit_gap_filler(clear, **QUIET)


def test_progress_is_told(
    clear: xr.Dataset, made: list[Cell], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(fit, "train_gate", lambda *_, **__: train_gate.Trained({}, 0, 1.0))
    with pytest.raises(CubeError, match="Nothing was learnt"):
        fit_gap_filler(clear, **{**QUIET, "progress": True})
    assert "place 0: clouds\n" in capsys.readouterr().out


@pytest.mark.thorough
@pytest.mark.parametrize("causal", [False, True])
def test_the_whole_way(causal: bool) -> None:
    """From cubes to the judge's numbers, whatever comes out: a network that is better, or a refusal."""
    cubes = [place(seed, shape=(48, 48), end="2022-12-31") for seed in (1, 2)]
    try:
        spec = fit_gap_filler(
            cubes, causal=causal, until="2022-06-30", epochs=4, rounds=3, progress=False
        )
    except CubeError as refused:
        assert "'similar' does as well" in str(refused)  # noqa: PT017
        return
    later = cubes[0].sel(time=slice("2022-07-01", None))
    how: dict[str, Any] = {"masks": ["frame"], "daily": False, "progress": False, "causal": causal}
    table = later.s2.evaluate_gap_filling({"network": spec, "similar": {}}, **how)
    rows = table.set_index("method")["mae"]
    assert rows["network"] < 1.1 * rows["similar"]


def test_what_counts_as_better(made: list[Cell]) -> None:
    spec = gate(chance=0, width=4)
    assert not fit._score(spec, made[::5], "cpu").better
    assert "1.000 of the error of 'similar'" in fit._score(spec, made[::5], "cpu").words


def test_dates_and_places_are_held_out(made: list[Cell]) -> None:
    rng = np.random.default_rng(0)
    parts = fit._split([made], 0.6, rng)
    assert sum(map(len, parts)) == len(made)
    dates = [{cell.date for cell in part} for part in parts]
    assert not dates[0] & dates[1]
    assert not dates[1] & dates[2]
    assert not dates[0] & dates[2]
    cubes = [[cell._replace(date=(k, cell.date[1])) for cell in made] for k in range(5)]
    places = [{cell.date[0] for cell in part} for part in fit._split(cubes, 0.4, rng)]
    assert list(map(len, places)) == [3, 1, 1]
    assert len(set.union(*places)) == 5


def test_windows_of_large_cubes() -> None:
    cube = place(shape=(200, 40), end="2021-02-28")
    (found,) = lessons.places_of([cube.chunk(y=50)], ["B08"], 8, np.random.default_rng(0))
    assert [part.cube.sizes["y"] for part in found] == [100, 100]
    assert found[0].cube["B08"].values.dtype == np.float32
    assert list(found[0].cube.data_vars) == ["B08"]
    assert found[1].origin == (found[0].origin[0] + 100, found[0].origin[1])
    (one,) = lessons.places_of([cube], None, 1, np.random.default_rng(0))
    assert len(one) == 1


def test_quantiles() -> None:
    rng = np.random.default_rng(0)
    age = rng.choice(np.array([2, 7, 100], np.int16), 60_000)
    errors = np.abs(rng.standard_normal(60_000)) * np.where(age == 2, 1, 3)
    table = count_quantiles(errors, age)
    np.testing.assert_allclose(table[:, 0], [1, 1.96], rtol=0.05)
    np.testing.assert_allclose(table[:, 1], [3, 3 * 1.96], rtol=0.05)
    # Of days without any, all count.
    assert table[0, 0] < table[0, 2] < table[0, 1]
    source = np.array([[Provenance.OBSERVED, Provenance.NETWORK, Provenance.NEVER_OBSERVED]], np.uint8)
    wide = width(
        np.full((1, 3), 0.5, np.float32), source, np.array([[0, 7, -32768]], np.int16),
        factors=tuple(table[0].tolist()),
    )  # fmt: skip
    np.testing.assert_allclose(wide, [[0, 0.5 * table[0, 1], np.nan]], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (None, {"method": "similar"}, "What can be fitted is 'network'; got 'similar'"),
        (None, {"held_out": 1.0}, "held_out is a share between 0 and 1"),
        (None, {"epochs": 0}, "are from 1; got"),
        (None, {"places": 0}, "are from 1; got"),
        (None, {"bands": ["B11"]}, "holds no B11"),
        (None, {"until": "soon"}, "until is a day such as '2020-12-31'; got 'soon'"),
        (None, {"until": "2020-01-01"}, "No look until 2020-01-01: the first is of 2021-01-"),
        (None, {"device": "gpu"}, "'cuda' or 'cpu'; got 'gpu'"),
        (lambda cube: cube.isel(time=slice(4)), {}, "nothing to learn from at place 0: no date can"),
        (None, {"held_out": 0.05}, "dates held out that say when it is over, 3 are needed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_teaches_nothing(
    clear: xr.Dataset, change: Callable | None, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(CubeError, match=words):
        fit_gap_filler(change(clear) if change else clear, **{**QUIET, **options})


def test_trials_are_the_judges() -> None:
    """One module hides looks for both."""
    from s2cube.evaluate import filling

    assert filling.trials is hidden.trials
