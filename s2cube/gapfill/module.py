"""A network of your own as a method: what it is given, what it returns, and how far it is believed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from s2cube.errors import CubeError
from s2cube.gapfill.quantiles import GAUSSIAN
from s2cube.gapfill.series import Filled, Series, fill_tiles
from s2cube.kernels.fill import provenance
from s2cube.kernels.window import pass_clear
from s2cube.models.modules import call_module, is_module, sha256_of
from s2cube.models.run import AUTO, BatchSize, check_batch_size, check_run, in_batches, on_device
from s2cube.schema import Provenance, band_id

__all__ = ["Filler", "check_filler", "fill_by_module", "name_of"]

F = NDArray[np.float32]
TILE: Final = 128
"""Pixels that go through a task at least."""
LARGEST: Final = 2048
WORK: Final = 12
"""Times its looks that a module is thought to work with; what it does, nobody knows."""
SAME: Final = 1e-3
"""Reflectance by which a value may change with what comes later, where a module says it does not."""


@runtime_checkable
class Filler(Protocol):
    """What any function, or ``torch.nn.Module``, must tell of itself to fill gaps.

    Beside :attr:`side` it may have

    - ``halo``: pixels that it sees around its window on each side (0);
    - ``bands``: which it takes, in its order; else it takes any, in the order of the cube;
    - ``causal``: whether each target leans on looks up to its day only, though later ones are there
      (False). See below;
    - ``name``, for ``history`` (else that of its type).

    A ``torch.nn.Module`` is given tensors, on the device of ``fill_gaps(device=)``, in evaluation mode
    and without gradients; anything else arrays of numpy. Both travel to workers by pickle.

    **Causal filling.** With ``fill_gaps(causal=True)`` a module is called once for each look, with the
    looks up to it and the targets from it to the next: what it is not given it cannot know. That takes
    long. One that says ``causal = True`` is given all looks at once. It is not believed blindly: in each
    tile one window is also filled from half of its looks alone, and values that differ are an error.

    Examples
    --------
    A network from frames to frames (as U-TILISE) gets empty frames where values are asked for::

        class Frames:
            side, halo = 64, 32

            def __init__(self, network):
                self.network = network

            def __call__(self, looks, clear, days, targets):
                when = np.union1d(days, targets)
                at = np.searchsorted(when, days)
                shape = (len(looks), len(when), *looks.shape[2:])
                frames, seen = np.zeros(shape, np.float32), np.zeros((*shape[:2], *shape[3:]), bool)
                frames[:, at], seen[:, at] = looks, clear
                return self.network(frames, seen, when)[:, np.searchsorted(when, targets)]


        cube.s2.fill_gaps(Frames(network))
    """

    side: int
    """Pixels of the windows that it fills, without halo. They begin at multiples of it in the grid."""

    def __call__(self, looks: Any, clear: Any, days: Any, targets: Any, /) -> Any:
        """Return reflectance ``(n, targets, band, y, x)``, or a pair of it and one standard deviation.

        Rows and columns are those of `looks`; what lies in the halo is not used. Where nothing was ever
        clear any number will do.

        Parameters
        ----------
        looks
            Reflectance, float32, ``(n, time, band, y, x)`` with ``side + 2 halo`` rows and columns; 0
            where not clear.
        clear
            ``bool``, ``(n, time, y, x)``: where all bands have a value. False beyond the cube.
        days
            Solar day of each look, int32 ``(time,)``, days since 1970-01-01, ascending, each once. There
            may be any number of them from 1.
        targets
            Days that are asked for, int32 ``(targets,)``, ascending, each once; also those of looks.
        """


@dataclass(frozen=True)
class Told:
    """A filler and what it tells of itself."""

    call: Any
    side: int
    halo: int
    causal: bool
    bands: tuple[str, ...] | None
    name: str
    torch: bool
    sha256: str

    @property
    def size(self) -> int:
        """Pixels of a window with its halo."""
        return self.side + 2 * self.halo

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        from dask.base import normalize_token

        facts = (self.name, self.side, self.halo, self.causal, self.bands)
        return (*facts, type(self.call).__qualname__, self.sha256 or normalize_token(self.call))


def check_filler(method: Any) -> Told:
    """Return a callable and what it tells, if it tells what it must.

    Raises
    ------
    CubeError
        It does not.
    """
    words = name_of(method)
    if not hasattr(method, "side"):
        raise CubeError(
            f"A callable that fills tells the side of its windows by an attribute; {words} lacks it "
            "(s2cube.gapfill.Filler shows how)."
        )
    halo, bands = getattr(method, "halo", 0), getattr(method, "bands", None)
    for what, value, least in (("side", method.side, 1), ("halo", halo, 0)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or not least <= value <= LARGEST:
            raise CubeError(
                f"The {what} of {words} is a number of pixels from {least} to {LARGEST}; got {value!r}."
            )
    if not isinstance(causal := getattr(method, "causal", False), bool):
        raise CubeError(f"causal of {words} is True or False; got {causal!r}.")
    known = None if bands is None else tuple(band_id(band) for band in bands)
    torch = is_module(method)
    return Told(
        method, int(method.side), int(halo), causal, known, words, torch,
        sha256_of(method) if torch else "",
    )  # fmt: skip


def name_of(method: Any) -> str:
    """Return what a callable is called."""
    found = getattr(method, "name", None) or getattr(method, "__qualname__", type(method).__qualname__)
    return str(found)


def fill_by_module(
    series: Series, *, told: Told, device: str = AUTO, batch_size: BatchSize = AUTO
) -> Filled:
    """Fill with a callable."""
    if told.torch:
        check_run(device, batch_size, told.name)
    else:
        check_batch_size(batch_size)
        if device != AUTO:
            raise CubeError(
                f"device={device!r} is for a fitted network or a torch.nn.Module; {told.name} is "
                "neither, and chooses for itself."
            )
    names = list(series.bands)
    if told.bands is not None and set(told.bands) != set(names):
        raise CubeError(
            f"{told.name} fills {', '.join(told.bands)}; the cube has {', '.join(names)}. Select those "
            "bands: cube[[...]]."
        )
    kept = max(TILE // told.side, 1) * told.side
    sizes = len(series.days), len(series.targets), len(names)
    return fill_tiles(
        series,
        _window,
        side=kept,
        halo=told.halo,
        work=_work(told, kept, batch_size, sizes),
        names=told.bands,
        factors=GAUSSIAN if series.deviations else None,
        told=told,
        device=device,
        batch_size=batch_size,
    )


def _work(told: Told, kept: int, batch: BatchSize, sizes: tuple[int, int, int]) -> int:
    """Return the bytes by pixel of a window that is worked with."""
    looks, steps, bands = sizes
    together = 1 if batch == AUTO else int(batch)
    shown = together * told.size**2 / kept**2
    return int((4 * bands + 1) * looks * (1 + WORK * shown) + 8 * bands * steps * (2 + shown))


@dataclass(frozen=True)
class _Tile:
    """The windows of one tile, and who fills them."""

    told: Told
    device: str
    batch_size: BatchSize
    looks: F
    """``(time, band, y, x)``, 0 where not clear; whole windows lie in it."""
    clear: NDArray[np.bool_]
    days: NDArray[np.int32]
    corners: NDArray[np.int32]
    """First row and column of each window, ``(n, 2)``."""

    def fill(self, targets: NDArray[np.int32], causal: bool) -> F:
        """Return ``(n, 1 or 2, targets, band, y, x)``; 0 before the first look, where causal."""
        counts = np.searchsorted(self.days, targets, side="right")
        if not causal or self.told.causal:
            found = self._call(self.corners, len(self.days), targets)
            if causal:
                self._believe(found, counts, targets)
            return found
        parts = {
            count: self._call(self.corners, count, targets[counts == count])
            for count in np.unique(counts[counts > 0]).tolist()
        }
        size, bands = self.told.size, self.looks.shape[1]
        made = next(iter(parts.values())).shape[1] if parts else 1
        whole = np.zeros((len(self.corners), made, len(targets), bands, size, size), np.float32)
        for count, part in parts.items():
            whole[:, :, counts == count] = part
        return whole

    def _believe(self, found: F, counts: NDArray[np.intp], targets: NDArray[np.int32]) -> None:
        """Refuse what says that it is causal and is not: one window is filled from half of its looks."""
        half = len(self.days) // 2
        upto = targets[counts <= half]
        if not half or not len(upto) or not self.clear[half:].any():
            return
        # The one that later looks tell most of.
        size = self.told.size
        seen = [self.clear[:, i : i + size, j : j + size].sum() for i, j in self.corners.tolist()]
        best = int(np.argmax(seen))
        alone = self._call(self.corners[best : best + 1], half, upto)
        moved = float(
            np.abs(alone[0] - found[best, :, : len(upto)])[:, counts[: len(upto)] > 0].max(initial=0)
        )
        if not moved <= SAME:
            raise CubeError(
                f"{self.told.name} says causal = True, but looks after "
                f"{np.datetime64(int(self.days[half - 1]), 'D')} change what it fills up to then, by up "
                f"to {moved:.2g}. Without that attribute it is given the past alone."
            )

    def _call(self, corners: NDArray[np.int32], upto: int, targets: NDArray[np.int32]) -> F:
        """Fill some windows from the first looks."""
        told = self.told

        def cut(batch: NDArray[np.int32]) -> list[NDArray[Any]]:
            shown = [
                np.stack(
                    [array[:upto, ..., i : i + told.size, j : j + told.size] for i, j in batch.tolist()]
                )
                for array in (self.looks, self.clear)
            ]
            return [*shown, self.days[:upto], targets]

        def plain(batch: NDArray[np.int32]) -> F:
            made = told.call(*cut(batch))
            return self._checked(made if isinstance(made, tuple) else (made,), batch, targets)

        def on(batch: NDArray[np.int32], where: Any) -> F:
            return self._checked(call_module(told.call, where, *cut(batch)), batch, targets)

        if not told.torch:
            return in_batches(plain, corners, 1 if self.batch_size == AUTO else int(self.batch_size))[0]
        each = WORK * told.size**2 * upto * (4 * self.looks.shape[1] + 1)
        how: dict[str, Any] = {"device": self.device, "batch_size": self.batch_size}
        return on_device(on, corners, name=told.name, bytes_each=each, **how)

    def _checked(self, made: Sequence[Any], batch: NDArray[np.int32], targets: NDArray[np.int32]) -> F:
        """Return what a filler made, if it has the shape that it must have, and numbers."""
        told = self.told
        found = [np.asarray(part) for part in made]
        wanted = (len(batch), len(targets), self.looks.shape[1], told.size, told.size)
        if len(found) not in (1, 2) or any(p.shape != wanted or p.dtype.kind != "f" for p in found):
            got = ", ".join(f"{part.dtype} {part.shape}" for part in found)
            raise CubeError(
                f"{told.name} returns floats of shape {wanted}, (n, targets, band, y, x), or a pair of "
                f"them; got {got or 'nothing'}."
            )
        return np.stack(found, axis=1).astype(np.float32, copy=False)


def _window(
    *looks: NDArray[Any],
    days: NDArray[np.int32],
    targets: NDArray[np.int32],
    origin: tuple[int, int],
    inside: tuple[slice, slice],
    causal: bool,
    smooth: bool,
    uncertain: bool,
    told: Told,
    device: str,
    batch_size: BatchSize,
) -> Iterator[NDArray[Any]]:
    """Yield provenance, bands and, if asked for, deviations; `looks` end with where they are valid."""
    *bands, valid = looks
    source = provenance(
        valid[:, *inside],
        days=days,
        targets=targets,
        reach="past" if causal else "both",
        between=Provenance.NETWORK,
        on_look=Provenance.NETWORK if smooth else Provenance.OBSERVED,
    )
    source[source == Provenance.EXTRAPOLATED] = Provenance.NETWORK
    values = np.stack(bands, axis=1)
    tile, places = _cut(values, valid, days, origin, inside, (told, device, batch_size))
    made = tile.fill(targets, causal)
    if uncertain and made.shape[1] < 2:
        raise CubeError(
            f"{told.name} does not tell how far it is off: for uncertainty= it returns a pair, values "
            "and one standard deviation."
        )
    filled = np.empty((1 + uncertain, len(targets), len(bands), *source.shape[1:]), np.float32)
    for number, (into, part) in enumerate(places):
        filled[:, :, :, *into] = made[number, : 1 + uncertain, :, :, *part]
    never = source == Provenance.NEVER_OBSERVED
    if not np.isfinite(filled[0].transpose(1, 0, 2, 3)[:, ~never]).all():
        raise CubeError(
            f"{told.name} gave no number for some pixels that have a clear look: it must fill them all."
        )
    filled[np.broadcast_to(never[:, None], filled.shape)] = np.nan
    if not smooth:
        pass_clear(filled[0], values, valid, days, targets, inside)
    yield source
    for part in filled:
        yield from np.moveaxis(part, 1, 0)


_Place = tuple[tuple[slice, slice], tuple[slice, slice]]


def _cut(
    values: F,
    valid: NDArray[np.bool_],
    days: NDArray[np.int32],
    origin: tuple[int, int],
    inside: tuple[slice, slice],
    run: tuple[Told, str, BatchSize],
) -> tuple[_Tile, list[_Place]]:
    """Return the windows of a tile: where in the tile, and which part of each, is its own."""
    side, halo = run[0].side, run[0].halo
    starts, sizes, places = [], [], []
    for first, length, part in zip(origin, valid.shape[1:], inside, strict=True):
        begin, end, _ = part.indices(length)
        lowest = (first + begin) // side * side - first
        along = range(lowest, end, side)
        starts.append(lowest - halo)
        sizes.append(len(along) * side + 2 * halo)
        own = [(max(at, begin), min(at + side, end), at) for at in along]
        places.append(
            [(slice(a - begin, b - begin), slice(a - at + halo, b - at + halo)) for a, b, at in own]
        )
    unique = np.unique(days)
    looks = np.zeros((len(unique), values.shape[1], *sizes), np.float32)
    clear = np.zeros((len(unique), *sizes), bool)
    to, of = [], []
    for start, size, length in zip(starts, sizes, valid.shape[1:], strict=True):
        to.append(slice(max(-start, 0), min(length - start, size)))
        of.append(slice(max(start, 0), min(start + size, length)))
    for step, k in enumerate(np.searchsorted(unique, days).tolist()):
        seen = valid[step][*of]
        np.copyto(looks[k][:, *to], values[step][:, *of], where=seen)
        clear[k][*to] |= seen
    down, across = places
    pairs = [((y, x), (i, j)) for i, (y, _) in enumerate(down) for j, (x, _) in enumerate(across)]
    corners = np.array([(i * side, j * side) for _, (i, j) in pairs], np.int32)
    tile = _Tile(*run, looks, clear, unique, corners)
    return tile, [(into, (down[i][1], across[j][1])) for into, (i, j) in pairs]
