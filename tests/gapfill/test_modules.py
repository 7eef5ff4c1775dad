"""Networks of one's own: what they are given, what they must give, and that a claim is not believed."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from causality import check_causal
from compare import assert_same
from dask.base import tokenize

import s2cube
from s2cube import schema
from s2cube.errors import CubeError
from s2cube.gapfill import Filler, module
from s2cube.schema import Provenance

BANDS = ("B04", "B08")


class Held:
    """The last clear look, 0 before the first; it notes what it is given."""

    side, halo = 16, 4
    name = "held 1.0"

    def __init__(self, causal: bool = False) -> None:
        self.causal = causal
        self.calls: list[tuple[np.ndarray, ...]] = []

    def __call__(
        self, looks: np.ndarray, clear: np.ndarray, days: np.ndarray, targets: np.ndarray
    ) -> np.ndarray:
        self.calls.append((looks, clear, days, targets))
        out = np.zeros((len(looks), len(targets), *looks.shape[2:]), np.float32)
        for t, day in enumerate(targets.tolist()):
            for k in np.flatnonzero(days <= day).tolist():
                np.copyto(out[:, t], looks[:, k], where=clear[:, k, None])
        return out

    def __dask_tokenize__(self) -> tuple[str, bool]:
        return (self.name, self.causal)


class Pair(Held):
    """With a deviation."""

    def __call__(self, *given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = super().__call__(*given)
        return out, np.full_like(out, 0.02)


class Frames:
    """The adaptor of the documentation, from frames to frames."""

    side, halo = 32, 0

    def __init__(self, network: Any) -> None:
        self.network = network

    def __call__(
        self, looks: np.ndarray, clear: np.ndarray, days: np.ndarray, targets: np.ndarray
    ) -> np.ndarray:
        when = np.union1d(days, targets)
        at = np.searchsorted(when, days)
        shape = (len(looks), len(when), *looks.shape[2:])
        frames, seen = np.zeros(shape, np.float32), np.zeros((*shape[:2], *shape[3:]), bool)
        frames[:, at], seen[:, at] = looks, clear
        found: np.ndarray = self.network(frames, seen, when)[:, np.searchsorted(when, targets)]
        return found


@pytest.fixture(scope="module")
def cloudy() -> xr.Dataset:
    cube = s2cube.testing.simulate_cube(shape=(70, 90), seed=1, bands=["red", "nir"])
    return cube.isel(time=slice(0, 14))


@pytest.fixture(scope="module")
def clear(cloudy: xr.Dataset) -> xr.Dataset:
    return cloudy.s2.mask_clouds("scl", buffer=20)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of which a small cube has several."""
    monkeypatch.setattr(module, "TILE", 32)


def test_what_passes_through_is_what_it_says(clear: xr.Dataset) -> None:
    """The last look by windows is that by pixels, causally."""
    for filler in (Held(), Held(causal=True)):
        found = clear.s2.fill_gaps(filler, freq="3D", causal=True)
        last = clear.s2.fill_gaps("last", freq="3D", causal=True)
        for name in (*BANDS, "clear_age"):
            xr.testing.assert_identical(found[name], last[name])
        source = np.where(
            last["provenance"] == Provenance.EXTRAPOLATED, Provenance.NETWORK, last["provenance"]
        )
        np.testing.assert_array_equal(found["provenance"], source)
    assert "fill_gaps(method='held 1.0', causal=True" in found.attrs["history"]


def test_what_it_is_given(clear: xr.Dataset) -> None:
    filler = Held()
    part = clear.isel(y=slice(3, 40), x=slice(5, 50))
    part.s2.fill_gaps(filler, dates=["2021-06-20", "2021-07-01"], batch_size=2)
    days = np.unique(schema.solar_days(clear))
    row, column = schema.first_pixel(schema.geobox_of(part))
    values = np.stack([part[band].values for band in BANDS], axis=1)
    valid = np.isfinite(values).all(axis=1)
    seen = 0
    for looks, told, when, targets in filler.calls:
        assert looks.shape == (2, len(days), 2, 24, 24)
        assert (looks.dtype, told.dtype, when.dtype, targets.dtype) == ("f4", "?", "i4", "i4")
        np.testing.assert_array_equal(when, days)
        assert targets.astype("M8[D]").astype(str).tolist() == ["2021-06-20", "2021-07-01"]
        assert not looks[~np.broadcast_to(told[:, :, None], looks.shape)].any()
        seen += told[:, :, 4:-4, 4:-4].sum()
    # The windows lie side by side at multiples of their side, and hold each look once (some twice,
    # where a batch was filled up).
    assert seen >= valid.sum()
    first = filler.calls[0]
    top, left = row // 16 * 16 - row, column // 16 * 16 - column
    k = int(np.searchsorted(days, schema.solar_days(part)[0]))
    rows, columns = slice(0, top + 20), slice(0, left + 20)
    np.testing.assert_array_equal(first[1][0, k, 4 - top : 24, 4 - left : 24], valid[0][rows, columns])


def test_any_chunks_give_the_same(clear: xr.Dataset) -> None:
    def chain(cube: xr.Dataset) -> xr.Dataset:
        return cube.s2.fill_gaps(Pair(), freq="20D", uncertainty=(68, 95))

    whole = chain(clear)
    lazy = chain(clear.chunk(time=3, y=25, x=33))
    assert lazy["B04"].chunks is not None
    assert_same(lazy, whole)
    filled = whole["provenance"] == Provenance.NETWORK
    for level, wide in (("", 0.02), ("95", 1.96 * 0.02)):
        told = whole[f"B08_uncertainty{level}"].where(filled)
        np.testing.assert_allclose(told.values[filled.values], wide, rtol=1e-6)
    assert (whole["B08_uncertainty"].where(whole["provenance"] == Provenance.OBSERVED, 0) == 0).all()


@pytest.mark.parametrize("declared", [False, True])
def test_the_future_does_nothing(cloudy: xr.Dataset, declared: bool) -> None:
    def chain(cube: xr.Dataset) -> xr.Dataset:
        dates = np.arange("2021-06-05", "2021-08-05", 7, dtype="M8[D]")
        masked = cube.s2.mask_clouds("scl", buffer=20)
        return masked.s2.fill_gaps(Held(causal=declared), dates=dates, causal=True)

    days = schema.solar_days(cloudy).astype("datetime64[D]")
    check_causal(chain, cloudy, days=[str(days[k]) for k in (3, 8)])


class Mean(Held):
    """The mean of all looks, which is what no causal method is."""

    def __call__(self, looks: np.ndarray, clear: np.ndarray, *when: np.ndarray) -> np.ndarray:
        mean = looks.sum(axis=1) / np.maximum(clear.sum(axis=1), 1)[:, None]
        return np.repeat(mean[:, None], len(when[1]), axis=1).astype(np.float32)


def test_a_claim_is_not_believed(clear: xr.Dataset, cloudy: xr.Dataset) -> None:
    with pytest.raises(CubeError, match=r"says causal = True, but looks after 2021-.* change what it"):
        clear.s2.fill_gaps(Mean(causal=True), freq="5D", causal=True)
    # Without the claim it is given the past alone, and is causal whatever it does.
    days = schema.solar_days(cloudy).astype("datetime64[D]")
    check_causal(
        lambda cube: cube.s2.mask_clouds("scl").s2.fill_gaps(
            Mean(), dates=np.arange("2021-06-05", "2021-08-05", 7, dtype="M8[D]"), causal=True
        ),
        cloudy,
        days=[str(days[7])],
    )
    clear.s2.fill_gaps(Mean(causal=True), freq="5D")


def test_causal_before_any_look(clear: xr.Dataset) -> None:
    first = schema.solar_days(clear)[0]
    dates = (first + np.array([-3, -2])).astype("M8[D]")
    for filler in (Held(), Held(causal=True)):
        found = clear.s2.fill_gaps(filler, dates=dates, causal=True)
        assert found["B04"].isnull().all()
        assert (found["provenance"] == Provenance.NEVER_OBSERVED).all()


def test_smooth_takes_its_word(clear: xr.Dataset) -> None:
    dates = np.unique(schema.solar_days(clear)).astype("M8[D]")
    found = clear.s2.fill_gaps(Mean(), dates=dates, smooth=True)
    assert (found["provenance"] == Provenance.NETWORK).all()
    plain = clear.s2.fill_gaps(Mean(), dates=dates)
    gaps = plain["provenance"] == Provenance.NETWORK
    xr.testing.assert_equal(found["B04"].where(gaps), plain["B04"].where(gaps))


def test_bands_in_their_order(clear: xr.Dataset) -> None:
    filler, plain = Held(), Held()
    filler.bands = ["nir", "red"]  # type: ignore[attr-defined]
    found = clear.s2.fill_gaps(filler, freq="40D")
    expected = clear.s2.fill_gaps(plain, freq="40D")
    assert list(found.data_vars) == list(expected.data_vars)
    for band in BANDS:
        xr.testing.assert_identical(found[band], expected[band])
    np.testing.assert_array_equal(filler.calls[0][0], plain.calls[0][0][:, :, ::-1])


def test_from_frames_to_frames(clear: xr.Dataset) -> None:
    """A small U-TILISE: it sees all frames at once, those asked for being empty."""
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.mix = torch.nn.Conv3d(3, 2, (5, 3, 3), padding=(2, 1, 1))

        def forward(self, looks: Any, clear: Any) -> Any:
            seen = torch.cat([looks, clear[:, :, None]], dim=2).transpose(1, 2)
            return self.mix(seen).transpose(1, 2)

    network = Network().eval()

    def call(frames: np.ndarray, seen: np.ndarray, when: np.ndarray) -> np.ndarray:
        assert (np.diff(when) > 0).all()
        with torch.inference_mode():
            found = network(torch.from_numpy(frames), torch.from_numpy(seen.astype(np.float32)))
        return np.asarray(found)

    found = clear.s2.fill_gaps(Frames(call), freq="9D")
    assert found["B04"].notnull().all()
    filled = found["provenance"].values == Provenance.NETWORK
    assert filled.any()
    assert not filled.all()
    # Given the past alone, also on its empty frames.
    causal = clear.s2.fill_gaps(Frames(call), freq="9D", causal=True)
    assert not causal["B04"].equals(found["B04"])


def test_a_torch_module_that_looks_back(clear: xr.Dataset) -> None:
    """A small daily network, strictly backward-looking: weights that fade with the days since a look."""
    torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

    class Fading(torch.nn.Module):
        side, halo, causal, bands = 32, 2, True, BANDS

        def __init__(self, rate: float) -> None:
            super().__init__()
            self.rate = torch.nn.Parameter(torch.tensor(rate))

        def forward(self, looks: Any, clear: Any, days: Any, targets: Any) -> Any:
            assert not self.training
            assert not torch.is_grad_enabled()
            since = (targets[:, None] - days[None]).float()
            weight = torch.where(since >= 0, torch.exp(-self.rate * since.clamp(min=0)), 0.0)
            seen = clear.float()[:, :, None]
            total = torch.einsum("tk,nkbyx->ntbyx", weight, looks * seen)
            count = torch.einsum("tk,nkbyx->ntbyx", weight, seen)
            mean = total / count.clamp(min=1e-9)
            return mean, torch.full_like(mean, 0.03)

    quick, slow = Fading(0.5), Fading(0.01)
    found = clear.s2.fill_gaps(quick, freq="3D", causal=True, uncertainty=True, device="cpu")
    last = clear.s2.fill_gaps("last", freq="3D", causal=True)
    assert float(abs(found["B04"] - last["B04"]).mean()) < 0.01
    assert found["B04"].isnull().equals(last["B04"].isnull())
    assert "Fading" in found.attrs["history"]
    lazy = [
        clear.chunk(y=35).s2.fill_gaps(one, freq="30D", causal=True)
        for one in (quick, Fading(0.5), slow)
    ]
    names = [one["B04"].data.name for one in lazy]
    assert names[0] == names[1] != names[2]
    assert_same(lazy[0], clear.s2.fill_gaps(quick, freq="30D", causal=True))


def test_graphs_are_deterministic_where_callables_say_what_they_are(clear: xr.Dataset) -> None:
    lazy = clear.chunk(time=4)
    one, two, other = (lazy.s2.fill_gaps(f, freq="30D") for f in (Held(), Held(), Held(causal=True)))
    assert one["B04"].data.name == two["B04"].data.name != other["B04"].data.name
    assert_same(pickle.loads(pickle.dumps(one)), one)
    assert tokenize(module.check_filler(Held())) == tokenize(module.check_filler(Held()))


def _without(**facts: Any) -> Held:
    filler = Held()
    for name, value in facts.items():
        setattr(filler, name, value)
    return filler


def _returning(change: Callable[[np.ndarray], Any]) -> Any:
    class Odd(Held):
        def __call__(self, *given: np.ndarray) -> Any:
            return change(super().__call__(*given))

    return Odd()


@pytest.mark.parametrize(
    ("filler", "options", "words"),
    [
        (lambda *_: None, {}, r"tells the side of its windows by an attribute; .*lambda.* lacks it"),
        (_without(side=0), {}, "The side of held 1.0 is a number of pixels from 1 to 2048; got 0"),
        (_without(side=True), {}, "got True"),
        (_without(halo=-1), {}, "The halo of held 1.0 is a number of pixels from 0 to 2048; got -1"),
        (_without(causal="yes"), {}, "causal of held 1.0 is True or False; got 'yes'"),
        (_without(bands=["B02", "B04"]), {}, "held 1.0 fills B02, B04; the cube has B04, B08"),
        (_without(bands=["mine"]), {}, "'mine' is no Sentinel-2 band"),
        (Held(), {"device": "cuda"}, "device='cuda' is for a fitted network or a torch.nn.Module; held"),
        (Held(), {"batch_size": 0}, "batch_size is 'auto' or a number of windows from 1; got 0"),
        (Held(), {"window": 3}, "'held 1.0' has no option window; its options are device, batch_size"),
        (Held(), {"uncertainty": True}, "does not tell how far it is off: for uncertainty= it"),
        (
            _returning(lambda made: made[:, :-1]), {},
            r"held 1.0 returns floats of shape \(1, 3, 2, 24, 24\).*; got float32 \(1, 2, 2, 24, 24\)",
        ),
        (_returning(lambda made: made.astype(int)), {}, "got int64"),
        (_returning(lambda _: ()), {}, "got nothing"),
        (_returning(lambda made: made * np.float32(np.nan)), {}, "gave no number for some pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_refused(clear: xr.Dataset, filler: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(CubeError, match=words):
        clear.s2.fill_gaps(filler, freq="40D", **options)


def test_it_is_a_protocol() -> None:
    assert isinstance(Held(), Filler)
    assert not isinstance(len, Filler)


def test_the_judge_takes_it(clear: xr.Dataset) -> None:
    """As the method of fill_gaps, causally too."""
    how: dict[str, Any] = {"masks": ["frame"], "daily": False, "progress": False}
    table = clear.s2.evaluate_gap_filling({"held": {"method": Held()}, "last": {}}, **how)
    rows = table.set_index(["causal", "method"])["mae"]
    assert rows[True, "held"] == rows[True, "last"]
