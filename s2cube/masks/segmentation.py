"""``segmentation``: a network that sees a picture, one that you trained or anyone's function."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.blocks import map_pixels, map_windows
from s2cube.errors import CubeError
from s2cube.masks.detected import Detected
from s2cube.masks.needs import check_cube
from s2cube.models.run import (
    AUTO,
    BatchSize,
    bytes_of_window,
    check_batch_size,
    check_run,
    in_batches,
    run_network,
)
from s2cube.models.spec import ModelSpec
from s2cube.schema import LEVELS, Status, band_id

__all__ = ["Segmenter", "detect", "states_of"]

OVERLAP: Final = 4
"""A side of a window over it is what two neighbours share."""
CLOUDY: Final = (Status.THIN_CLOUD, Status.SHADOW, Status.CLOUD)
"""What the probabilities of which add up to that of not being clear."""
WORK: Final = 400
"""Values a pixel that a callable is thought to work with; what it does, nobody knows."""
_CLOUD: Final = (Status.THIN_CLOUD, Status.CLOUD)
_NAMES: Final = {status.name.lower(): status for status in Status if status < Status.SATURATED}
_SUM: Final = 0.02
"""By how much probabilities may miss 1: networks at half precision do."""


@runtime_checkable
class Segmenter(Protocol):
    """What any function must tell of itself to be a mask: attributes of the object that is called.

    Beside those below it may have ``name`` (for ``history``; else that of its type) and ``levels`` (of
    ``("L1C", "L2A")``, else both). It travels to workers by pickle: what is large it loads when it is
    first called there. `OmniCloudMask <https://github.com/DPIRD-DMA/OmniCloudMask>`_, for example::

        class OmniCloudMask:
            name = "omnicloudmask 1.8"
            bands = ("B04", "B03", "B8A")
            classes = ("clear", "cloud", "thin_cloud", "shadow")
            side = 512

            def __call__(self, looks):
                from omnicloudmask import predict_from_array

                how = {"patch_size": 512, "patch_overlap": 256, "export_confidence": True}
                return np.stack([predict_from_array(np.nan_to_num(look), **how) for look in looks])


        mask = s2cube.cloud_mask(cube, "segmentation", model=OmniCloudMask())
    """

    bands: Sequence[str]
    """What it looks at, in its order."""
    classes: Sequence[str]
    """Names of states, in the order of what it returns: ``clear``, ``cloud``, ``thin_cloud``, ..."""
    side: int
    """Pixels of the windows that it wants."""

    def __call__(self, looks: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Return probabilities ``(n, classes, side, side)``, which add up to 1.

        Parameters
        ----------
        looks
            Reflectance, float32, shape ``(n, bands, side, side)``, NaN where missing.
        """


def detect(
    cube: xr.Dataset,
    *,
    model: str | Path | ModelSpec | Segmenter | None = None,
    threshold: float = 0.5,
    device: str = AUTO,
    batch_size: BatchSize = AUTO,
) -> Detected:
    """Find clouds and shadows by a network that sees windows of the image.

    Parameters
    ----------
    cube
        A cube of a level and with the bands that the model was made for.
    model
        A ``.safetensors`` file of :func:`~s2cube.masks.fit_segmentation`, its spec, or a callable
        that is a :class:`Segmenter`. No weights come with s2cube.
    threshold
        A look is not clear where cloud, thin cloud and shadow together are at least so probable; it
        is then the most probable of the three, else the most probable of the others.
    device
        One of PyTorch's; ``"auto"``: a GPU where the process that computes has one. A callable chooses
        for itself.
    batch_size
        Windows that go at once; ``"auto"``: what fits the device's memory, on the processor and for a
        callable one.

    Returns
    -------
    Detected
        The model's classes, and ``NO_DATA`` where one of its bands is missing. The probability is that
        of cloud and thin cloud.

    Raises
    ------
    CubeError
        There is no model, it is none, the cube is not what it was made for, or an option is out of
        range.
    ReadError
        There is no such file.
    ImportError
        The extra ``torch`` is not installed, and the model is not a callable.

    Notes
    -----
    Windows overlap by a quarter and are blended; they lie at fixed pixels of the cube, whatever its
    chunks. On the processor the mask is the same for any chunks, on a GPU nearly so. Beyond its edges
    the cube is mirrored. Where a date has no look in a window, the model is not asked. Nothing is
    resampled: give a model pixels of the size that it learnt.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
        raise CubeError(f"threshold is a probability between 0 and 1; got {threshold!r}.")
    spec = ModelSpec.load(model) if isinstance(model, (str, Path)) else model
    if isinstance(spec, ModelSpec):
        check_run(device, batch_size, f"The network {spec.name!r}")
        run: Callable[..., Any] = partial(run_network, device=device, batch_size=batch_size)
        work = bytes_of_window(spec)
    else:
        spec = _checked(spec)
        check_batch_size(batch_size)
        if device != AUTO:
            raise CubeError(f"device={device!r} is for a ModelSpec; a callable chooses for itself.")
        run, work = partial(_call, batch_size=batch_size), 4 * spec.side**2 * WORK
    name, bands, levels, side = _facts(spec)
    states = states_of(spec.classes)
    check_cube(cube, "segmentation", f"{name} was made for it", needs=(levels, bands))
    found = map_windows(
        _classes,
        *(cube[band].data for band in bands),
        step=side - side // OVERLAP,
        before=side // OVERLAP // 2,
        taper=_taper(side),
        made=len(states),
        work=work * (1 if batch_size == AUTO else int(batch_size)),
        shared=spec,
        run=run,
    )
    classes = [found[:, number] for number in range(len(states))]
    status = map_pixels(
        _status, *classes, dtype=np.uint8, states=states, threshold=np.float32(threshold)
    )
    cloud = [array for array, state in zip(classes, states, strict=True) if state in _CLOUD]
    probability = map_pixels(_total, *cloud, dtype=np.float32)
    return Detected(status, probability, told={"model": name, "threshold": float(threshold)})


def states_of(classes: Sequence[str]) -> tuple[int, ...]:
    """Return the states that `classes` name, among them something clear and some cloud, each once."""
    named = [classes] if isinstance(classes, str) else list(classes)
    if unknown := [name for name in named if name not in _NAMES]:
        raise CubeError(f"The model's classes {unknown} are no states; those are {', '.join(_NAMES)}.")
    states = tuple(int(_NAMES[name]) for name in named)
    if len(set(states)) < len(states) or not set(states) & set(_CLOUD) or not set(states) - set(CLOUDY):
        raise CubeError(f"A model tells 'clear' and 'cloud' apart, each class once; got {named}.")
    return states


def _checked(model: Any) -> Segmenter:
    """Return a callable that tells what it must."""
    if model is None:
        raise CubeError(
            "'segmentation' needs model=: no weights come with s2cube. Train some on your own cubes, "
            "spec = s2cube.masks.fit_segmentation(cubes), and spec.save('mine.safetensors'); pass "
            "cloud_mask(..., model='mine.safetensors'), or a callable of another library "
            "(s2cube.masks.segmentation.Segmenter shows how); the mask goes into mask_clouds()."
        )
    if not callable(model):
        raise CubeError(f"model is a .safetensors file, a ModelSpec or a callable; got {model!r}.")
    if lacks := [name for name in ("bands", "classes", "side") if not hasattr(model, name)]:
        raise CubeError(
            f"A callable tells its bands, classes and side by attributes; {_name(model)} lacks "
            f"{', '.join(lacks)} (s2cube.masks.segmentation.Segmenter shows how)."
        )
    side = model.side
    if isinstance(side, bool) or not isinstance(side, (int, np.integer)) or side < OVERLAP:
        raise CubeError(
            f"The side of {_name(model)} is a number of pixels from {OVERLAP}; got {side!r}."
        )
    checked: Segmenter = model
    return checked


def _name(model: Any) -> str:
    named = getattr(model, "name", None) or getattr(model, "__qualname__", type(model).__qualname__)
    return str(named)


def _facts(model: ModelSpec | Segmenter) -> tuple[str, tuple[str, ...], tuple[str, ...], int]:
    """Return name, bands, levels and side."""
    name = model.described() if isinstance(model, ModelSpec) else _name(model)
    levels = tuple(getattr(model, "levels", LEVELS))
    return name, tuple(band_id(band) for band in model.bands), levels, int(model.side)


def _taper(side: int) -> NDArray[np.float32]:
    """Return the weight along a window: whole in its middle, falling where the next one overlaps."""
    inward = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    return np.asarray(np.minimum(inward / (side // OVERLAP), 1), dtype=np.float32)


def _call(
    windows: NDArray[np.float32], model: Segmenter, *, batch_size: BatchSize
) -> NDArray[np.float32]:
    """Return what a callable makes of windows."""

    def call(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.asarray(model(batch))
        wanted = (len(batch), len(model.classes), *batch.shape[2:])
        if found.shape != wanted or found.dtype.kind != "f":
            raise CubeError(
                f"{_name(model)} returns floats of shape {wanted} for windows of shape {batch.shape}; "
                f"got {found.dtype} {found.shape}."
            )
        return found.astype(np.float32, copy=False)

    return in_batches(call, windows, 1 if batch_size == AUTO else int(batch_size))[0]


def _classes(
    *bands: NDArray[np.float32],
    shared: Any,
    run: Callable[..., NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Return the probability of each class, NaN where a band is missing."""
    looks = np.stack(bands, axis=1)
    missing = np.asarray(np.isnan(looks).any(axis=1))
    out = np.full((len(looks), len(shared.classes), *missing.shape[1:]), np.nan, np.float32)
    asked = ~missing.all(axis=(1, 2))
    if asked.any():
        found = run(looks[asked], shared)
        seen = ~missing[asked]
        total = found.sum(axis=1)[seen]
        # Written so that NaN is refused too.
        if not (np.abs(total - 1) <= _SUM).all() or not (found.min(axis=1)[seen] >= -_SUM).all():
            raise CubeError(
                f"{_name(shared)} gave no probabilities: by pixel they add up to between "
                f"{total.min():g} and {total.max():g}, not to 1. A softmax makes them of logits."
            )
        out[asked] = np.where(seen[:, None], found, np.float32(np.nan))
    return out


def _status(
    *classes: NDArray[np.float32], states: tuple[int, ...], threshold: np.float32
) -> NDArray[np.uint8]:
    """Return the state of each look; the first of equals."""
    cloudy = [state in CLOUDY for state in states]
    of = np.stack(classes)
    not_clear = _total(*of[cloudy]) >= threshold
    table = np.array(states, dtype=np.uint8)
    bad = table[cloudy][np.argmax(of[cloudy], axis=0)]
    good = table[np.invert(cloudy)][np.argmax(of[np.invert(cloudy)], axis=0)]
    return np.where(np.isnan(of[0]), np.uint8(Status.NO_DATA), np.where(not_clear, bad, good))


def _total(*classes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(sum(classes[1:], start=classes[0]), dtype=np.float32)
