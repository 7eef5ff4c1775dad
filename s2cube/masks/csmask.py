"""``csmask``: DLR's U-Nets for clouds and their shadows, levels 1C and 2A."""

import threading
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.blocks import map_pixels, map_windows
from s2cube.masks.detected import Detected
from s2cube.masks.needs import METHODS, check_cube, check_extra, check_version, level_of
from s2cube.schema import Status

__all__ = ["detect"]

PACKAGE: Final = "ukis-csmask"
SWIR: Final = ("B11", "B12")
"""With both, the network of six bands is taken."""
SIDE: Final = 256
"""Pixels of a window: what the networks were trained on."""
OVERLAP: Final = 0.2
"""Of a window, as in the library, whose windows lie where ours do."""
WORK: Final = 64 * 2**20
"""Bytes that a network works with in one window, measured; its weights are 200 MB, once a process."""
_STATES: Final = (Status.CLEAR, Status.CLOUD, Status.SHADOW)
"""What the networks' classes are, in their order."""
_LOCK: Final = threading.Lock()


def detect(cube: xr.Dataset) -> Detected:
    """Find clouds and their shadows by the U-Nets of ukis-csmask 1.0.

    Parameters
    ----------
    cube
        A cube of level 1C or 2A with B02, B03, B04 and B08. With B11 and B12 too, the network of six
        bands is taken, which its authors found to be better.

    Returns
    -------
    Detected
        ``CLEAR``, ``SHADOW``, ``CLOUD``, and ``NO_DATA`` where a band is missing: it knows neither snow
        nor water (both are clear), and no thin cloud apart from cloud. The probability is that of cloud.

    Raises
    ------
    CubeError
        The level is unknown, or a band is missing.
    ImportError
        The extra ``csmask`` is not installed.

    Notes
    -----
    Package and weights are the German Aerospace Center's, licensed Apache 2.0 (Wieland et al. 2019,
    https://doi.org/10.1016/j.rse.2019.05.022); the networks were trained on CloudSEN12+ and SPARCS.

    Networks see windows of 256 px, which overlap by 52 and are blended, as the library does it: the mask
    of a cube without missing pixels is the library's. Windows lie at fixed pixels of the cube, whatever
    its chunks; another cut of the same place is another cube, with slightly other masks. Beyond the
    cube's edges it is mirrored; a cube that is smaller than a window gives the network little to go by.

    Its authors found about 30 m to be best. Nothing is resampled here: at 10 m a window sees 2.6 km.
    Missing pixels are 0 to the network, as in the products it learnt from, so a shadow may be seen along
    the edge of a swath.
    """
    check_cube(
        cube,
        "csmask",
        "it has one network for reflectance at the top of the atmosphere and one for that at the ground",
    )
    version = check_extra("csmask", PACKAGE, "ukis_csmask", "onnxruntime", "scipy")
    names = list(METHODS["csmask"].needs)
    if all(band in cube for band in SWIR):
        names += SWIR
    classes = map_windows(
        _classes,
        *(cube[band].data for band in names),
        step=int(SIDE - SIDE * OVERLAP),
        before=int(SIDE * OVERLAP),
        taper=_taper(),
        made=len(_STATES),
        work=WORK,
        model=f"model_{len(names)}b_{level_of(cube).lower()}",
        version=version,
    )
    clear, cloud, shadow = (classes[:, number] for number in range(len(_STATES)))
    return Detected(map_pixels(_status, clear, cloud, shadow, dtype=np.uint8), cloud)


def _taper() -> NDArray[np.float32]:
    """Return the library's weights along a window."""
    from scipy.signal.windows import tukey

    return np.asarray(tukey(M=SIDE, alpha=2 * OVERLAP), dtype=np.float32)


class _Network(NamedTuple):
    session: Any
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]


@cache
def _load(model: str, version: str) -> _Network:
    check_version(PACKAGE, version)
    import json
    from importlib.resources import as_file, files

    import onnxruntime

    folder = files("ukis_csmask")
    mean, deviation = json.loads((folder / f"{model}.json").read_text())["data"]["dataset_statistics"][
        "img"
    ]
    options = onnxruntime.SessionOptions()
    # Dask runs tasks side by side: one thread each.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with as_file(folder / f"{model}.onnx") as path:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return _Network(session, *(np.array(row)[:, None, None] for row in (mean, deviation)))


def _network(model: str, version: str) -> _Network:
    """Return a network of this process, loaded once whatever the threads."""
    with _LOCK:
        return _load(model, version)


def _classes(*bands: NDArray[np.float32], model: str, version: str) -> NDArray[np.float32]:
    """Return the probability of each class, NaN where a band is missing."""
    from scipy.special import softmax

    looks = np.stack(bands, axis=1)
    missing = np.asarray(np.isnan(looks).any(axis=1))
    out = np.full((len(looks), len(_STATES), *missing.shape[1:]), np.nan, np.float32)
    for date, (look, gone) in enumerate(zip(looks, missing, strict=True)):
        if gone.all():
            continue
        network = _network(model, version)
        image = np.where(gone, np.float32(0), look)
        # In place, as the library does: its numbers are float64, the image stays float32.
        image -= network.mean
        image /= network.deviation
        (logits,) = network.session.run(None, {network.session.get_inputs()[0].name: image[None]})
        out[date] = np.where(gone, np.float32(np.nan), softmax(logits[0], axis=0))
    return out


def _status(*classes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the state of the most probable class; the first of equals."""
    best = np.argmax(np.stack(classes), axis=0)
    table = np.array(_STATES, dtype=np.uint8)
    return np.where(np.isnan(classes[0]), np.uint8(Status.NO_DATA), table[best])
