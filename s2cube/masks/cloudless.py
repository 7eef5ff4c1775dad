"""``s2cloudless``: Sentinel Hub's classifier of single pixels, level 1C, clouds only."""

import threading
from functools import cache
from itertools import product
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube.blocks import is_lazy, map_halo, map_pixels
from s2cube.errors import CubeError
from s2cube.masks.detected import Detected
from s2cube.masks.needs import METHODS, check_cube, check_extra, check_version
from s2cube.schema import Status

__all__ = ["detect"]

PACKAGE: Final = "s2cloudless"
BATCH: Final = 2**16
"""Pixels that the classifier gets at once: its table of ten bands stays at a few MB."""
FARTHEST: Final = 200
"""Pixels: a radius beyond it is a slip."""
_STEPS: Final = 2.0**30
"""Into which a probability of 1 is cut: sums of whole numbers do not depend on their order."""
_LOCK: Final = threading.Lock()


def detect(
    cube: xr.Dataset,
    *,
    threshold: float = 0.4,
    average_over: int | None = 4,
    dilation_size: int | None = 2,
) -> Detected:
    """Find clouds by the gradient-boosted trees of s2cloudless 1.7, pixel by pixel.

    Parameters
    ----------
    cube
        A level-1C cube with B01, B02, B04, B05, B08, B8A, B09, B10, B11 and B12.
    threshold
        Averaged probability above which a look is cloud.
    average_over
        Radius in pixels of the disk over which probabilities are averaged first; None or 0 for none.
    dilation_size
        Radius in pixels by which clouds grow then; None or 0 for none.

    Returns
    -------
    Detected
        ``CLEAR``, ``CLOUD``, and ``NO_DATA`` where a needed band is missing: it knows neither shadow nor
        snow. The probability is that of the single pixel, not averaged.

    Raises
    ------
    CubeError
        The cube is of another level or lacks a band, or an option is none.
    ImportError
        The extra ``s2cloudless`` is not installed.

    Notes
    -----
    Trees and package are Sentinel Hub's (https://github.com/sentinel-hub/sentinel2-cloud-detector), with
    the licence CC BY-SA 4.0: name them, and share what you adapt of them under the same licence. No part
    of them is in s2cube.

    The classifier looks at one pixel, so it takes any resolution; its authors found 160 m to cost least
    for what it finds. Nothing is resampled here. Both radii are pixels of the cube, as in the library:
    the defaults average over 40 m and grow by 20 m where pixels are 10 m; where they are 160 m, over
    640 m and by 320 m.

    Where every pixel has a look, the mask is the library's. Pixels without one are left out of the
    average, and do not grow; the library does not know of them.
    """
    check_cube(
        cube,
        "s2cloudless",
        "its trees learnt reflectance at the top of the atmosphere, and B10, which level 2A lacks",
    )
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise CubeError(f"threshold is a probability from 0 to 1; got {threshold!r}.")
    average, growth = _pixels("average_over", average_over), _pixels("dilation_size", dilation_size)
    version = check_extra("s2cloudless", PACKAGE, "s2cloudless", "lightgbm", "cv2")
    arrays = [cube[band].data for band in METHODS["s2cloudless"].needs]
    probability = map_pixels(
        _probability,
        *arrays,
        dtype=np.float32,
        version=version,
        # Dask runs tasks side by side: one thread each.
        threads=1 if any(map(is_lazy, arrays)) else 0,
    )
    status = map_halo(
        _status,
        probability,
        depth=(average + growth,) * 2,
        dtype=np.uint8,
        threshold=float(threshold),
        average=average,
        growth=growth,
    )
    return Detected(status, probability)


def _pixels(words: str, radius: int | None) -> int:
    if radius is None:
        return 0
    if (
        isinstance(radius, bool)
        or not isinstance(radius, (int, np.integer))
        or not 0 <= radius <= FARTHEST
    ):
        raise CubeError(
            f"{words} is a whole number of pixels, 0 to {FARTHEST}, or None; got {radius!r}."
        )
    return int(radius)


@cache
def _load(version: str) -> Any:
    check_version(PACKAGE, version)
    from s2cloudless.cloud_detector import S2PixelCloudDetector

    detector = S2PixelCloudDetector()
    # It reads its file when it is first asked.
    assert detector.classifier is not None
    return detector


def _detector(version: str) -> Any:
    """Return the detector of this process, loaded once whatever the threads."""
    with _LOCK:
        return _load(version)


def _probability(*bands: NDArray[np.float32], version: str, threads: int) -> NDArray[np.float32]:
    """Return the probability of cloud of each pixel, NaN where a band is missing."""
    dates, height, width = bands[0].shape
    out = np.full((dates, height, width), np.nan, np.float32)
    step = max(BATCH // width, 1)
    for date, top in product(range(dates), range(0, height, step)):
        rows = (date, slice(top, top + step))
        pixels = np.stack([band[rows] for band in bands], axis=-1)
        seen = ~np.isnan(pixels).any(axis=-1)
        if seen.any():
            image = pixels[seen][None, None]
            found = _detector(version).get_cloud_probability_maps(image, num_threads=threads)
            out[rows][seen] = found[0, 0]
    return out


def _status(
    probability: NDArray[np.float32], *, threshold: float, average: int, growth: int
) -> NDArray[np.uint8]:
    """Do what the library does to probabilities, date by date."""
    import cv2

    status = np.full(probability.shape, Status.NO_DATA, np.uint8)
    for look, date in zip(probability, status, strict=True):
        seen = ~np.isnan(look)
        total = np.rint(np.where(seen, look, 0) * _STEPS)
        among = seen.astype(np.float64)
        if average:
            # Whole numbers again after the sum: OpenCV takes a Fourier transform for large disks.
            total, among = (
                np.rint(cv2.filter2D(image, -1, _disk(average), borderType=cv2.BORDER_REFLECT))
                for image in (total, among)
            )
        cloudy = (seen & (total > threshold * _STEPS * among)).astype(np.uint8)
        if growth:
            cloudy = cv2.dilate(cloudy, _disk(growth).astype(np.uint8))
        date[seen] = np.where(cloudy[seen], Status.CLOUD, Status.CLEAR)
    return status


def _disk(radius: int) -> NDArray[np.float64]:
    """Return the library's disk, which is OpenCV's."""
    import cv2

    side = 2 * radius + 1
    drawn = cv2.circle(np.zeros((side, side), np.uint8), (radius, radius), radius, 1, -1)
    return np.asarray(drawn, dtype=np.float64)
