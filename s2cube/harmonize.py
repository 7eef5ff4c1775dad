"""From what a source holds (counts, declared facts) to the one convention of a cube.

Reflectance is ``count * scale + offset``. The scale of Sentinel-2 is 1e-4 everywhere; the offset is what
goes wrong. From processing baseline 04.00 (2022-01-25, and all older scenes reprocessed since) ESA adds
1000 to every count of reflectance, so -0.1 must be added to get it back; some providers have removed it
from the pixels, some say so, some say so wrongly. :data:`RULES` decides from facts that
:mod:`s2cube.sources` collects. The date never decides.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from s2cube import schema
from s2cube.blocks import map_pixels
from s2cube.errors import HarmonizationError
from s2cube.kernels.counts import decode, look_status, read_failed_value

__all__ = [
    "RULES",
    "Baseline",
    "OffsetFacts",
    "Rule",
    "check_unit",
    "offset_to_add",
    "parse_baseline",
    "reflectance",
    "scene_classes",
    "status_of_counts",
]

Baseline = tuple[int, int]
"""``(5, 10)`` is 05.10: to be compared as numbers."""

FIRST_WITH_OFFSET: Final[Baseline] = (4, 0)
"""The processing baseline from which ESA adds 1000 to the counts (Sentinel-2 Products Specification
Document, issue 14.9: BOA_ADD_OFFSET, RADIO_ADD_OFFSET)."""
OFFSET: Final = -0.1
"""What has to be added to reflectance then."""
PLAUSIBLE: Final = 1.0
"""An offset of reflectance is not larger, either sign: what is must be in counts."""


def parse_baseline(text: object) -> Baseline | None:
    """Return a processing baseline as numbers; None where `text` is none.

    ``"05.10"``, ``"N0510"``, ``5.1`` and ``"5.1"`` are the same. ``"99.99"`` and ``"N9999"`` stand for
    Sen2Cor run by hand: its products may be of any baseline, so they tell none.

    Examples
    --------
    >>> from s2cube.harmonize import parse_baseline
    >>> parse_baseline("05.10"), parse_baseline(5.1), parse_baseline("N0209"), parse_baseline("N9999")
    ((5, 10), (5, 10), (2, 9), None)
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = f"{text:.2f}"  # 5.00 may have become 5 on its way through JSON
    match = re.fullmatch(r"N?(\d{1,2})\.(\d{1,2})|N?(\d\d)(\d\d)", str(text).strip())
    if match is None:
        return None
    whole, part = match[1] or match[3], match[2] or match[4]
    # Decimals: 5.1 is 05.10, not 05.01.
    found = int(whole), int(part.ljust(2, "0"))
    return None if found == (99, 99) else found


@dataclass(frozen=True)
class OffsetFacts:
    """What is said of the offset in one asset, whoever says it."""

    asset: str
    """Its name in errors: ``"B04 of item S2A_..."``."""
    measures: bool = True
    """Whether it holds reflectance, rather than classes, water vapour, aerosol or a picture."""
    baseline: Baseline | None = None
    """Processing baseline; None where it is not told."""
    removed: bool | None = None
    """A flag of the provider, "the offset is gone from the pixels"; None where there is none."""
    original: bool = False
    """Whether the asset is ESA's own file, of which a provider's flag does not speak."""
    declared: float | None = None
    """The offset that the asset declares, as reflectance; None where it declares none."""


@dataclass(frozen=True)
class Rule:
    """One row of :data:`RULES`."""

    name: str
    applies: Callable[[OffsetFacts], bool]
    offset: Callable[[OffsetFacts], float]


def _of_baseline(facts: OffsetFacts) -> float:
    assert facts.baseline is not None
    return OFFSET if facts.baseline >= FIRST_WITH_OFFSET else 0.0


def _declared(facts: OffsetFacts) -> float:
    assert facts.declared is not None
    return facts.declared


RULES: Final[tuple[Rule, ...]] = (
    Rule("it holds no reflectance", lambda f: not f.measures, lambda _: 0.0),
    # Earth Search goes on declaring -0.1 for these: adding it would subtract twice.
    Rule("the provider has removed it", lambda f: f.removed is True and not f.original, lambda _: 0.0),
    Rule(
        "the file is as ESA made it, so its baseline decides",
        lambda f: (f.removed is not None or f.original) and f.baseline is not None,
        _of_baseline,
    ),
    Rule("the asset declares it", lambda f: f.declared is not None, _declared),
    Rule("nothing is declared, so the baseline decides", lambda f: f.baseline is not None, _of_baseline),
)
"""The first rule that applies decides."""


def offset_to_add(facts: OffsetFacts) -> float:
    """Return the reflectance to add to ``count * scale``, by the first of :data:`RULES` that applies.

    Parameters
    ----------
    facts
        What is said of the asset.

    Raises
    ------
    HarmonizationError
        Nothing decides, what is said contradicts itself, or the offset is neither 0 nor -0.1.

    Examples
    --------
    >>> from s2cube.harmonize import OffsetFacts, offset_to_add
    >>> offset_to_add(OffsetFacts("B04", baseline=(5, 10)))
    -0.1
    >>> offset_to_add(OffsetFacts("red", baseline=(5, 10), removed=True, declared=-0.1))
    0.0
    """
    rule = next((rule for rule in RULES if rule.applies(facts)), None)
    if rule is None:
        raise HarmonizationError(
            f"Nothing tells the offset of {facts.asset}: it declares none, and its processing baseline "
            "is not given (99.99, Sen2Cor run by hand, is none). The date does not tell either. Say it "
            "with offset=0 (before baseline 04.00, or removed) or offset=-0.1 (04.00 and later), or add "
            "s2:processing_baseline to the item."
        )
    offset = rule.offset(facts)
    check_unit(facts.asset, offset)
    if not any(abs(offset - known) < 1e-9 for known in (0.0, OFFSET)):
        raise HarmonizationError(
            f"{facts.asset} declares an offset of {offset:g}; ESA's is 0 or -0.1. If it is right all "
            f"the same, say so with offset={offset:g}, else with the right one."
        )
    if contradiction := _contradiction(facts, rule):
        raise HarmonizationError(
            f"{facts.asset} {contradiction}: one of the two is wrong. Look at the pixels "
            "(s2cube.check_offsets) and say it with offset=."
        )
    return round(offset, 9) + 0.0


def check_unit(asset: str, offset: float) -> None:
    """Raise where an asset declares an offset that can only be in counts, not in reflectance."""
    if not abs(offset) <= PLAUSIBLE:
        raise HarmonizationError(
            f"{asset} declares an offset of {offset:g}, which can only be in counts (ESA's -1000 "
            f"are {OFFSET:g} in reflectance). Correct raster:offset, or say the reflectance to add: "
            f"offset={OFFSET:g} (it is in the counts) or offset=0 (it has been removed)."
        )


def _contradiction(facts: OffsetFacts, rule: Rule) -> str:
    """Return what is said twice and differently of the offset, empty where nothing is."""
    removed = facts.removed is True and not facts.original
    if not facts.measures or removed or facts.declared is None or facts.baseline is None:
        return ""
    expected = _of_baseline(facts)
    if abs(facts.declared - expected) < 1e-9:
        return ""
    # Declared 0 from 04.00 on may mean "removed", unless the file is as ESA made it; -0.1 before it
    # means nothing that ESA ever made.
    if facts.declared == 0 and rule.offset is not _of_baseline:
        return ""
    name = "{:02}.{:02}".format(*facts.baseline)
    return f"declares an offset of {facts.declared:g}, but processing baseline {name} has {expected:g}"


def reflectance(
    raw: Any,
    band: str,
    *,
    nodata: float | None,
    scale: float,
    offset: float | NDArray = 0.0,
    marked: bool = False,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Variable:
    """Return a band of a cube from its counts, lazily.

    Parameters
    ----------
    raw
        Counts, shape ``(time, y, x)``, numpy or Dask.
    band
        Its id.
    nodata, scale, offset, marked
        As in :func:`s2cube.kernels.counts.decode`; `offset` is one for all or one a step.
    attrs
        Its attributes; by default, those of the band of Sentinel-2.
    """
    steps = np.broadcast_to(np.asarray(offset, dtype=np.float64), raw.shape[:1])[:, None, None]
    data = map_pixels(_decode, raw, steps, dtype=np.float32, nodata=nodata, scale=scale, marked=marked)
    return schema.variable(data, schema.band_attrs(band) if attrs is None else dict(attrs))


def _decode(
    raw: NDArray, offset: NDArray, *, nodata: float | None, scale: float, marked: bool
) -> NDArray[np.float32]:
    return decode(raw, nodata=nodata, scale=scale, offset=offset, marked=marked)


def status_of_counts(
    raws: Sequence[Any], nodata: Sequence[float | None], *, marked: bool = False
) -> xr.Variable:
    """Return ``status`` (no data, saturated, unread or clear) from the counts of all bands, lazily."""
    data = map_pixels(look_status, *raws, dtype=np.uint8, nodata=tuple(nodata), marked=marked)
    return schema.variable(data, schema.status_attrs())


def scene_classes(data: Any) -> xr.Variable:
    """Return ``SCL`` as uint8 from classes of any type, lazily."""
    if data.dtype != np.uint8:
        data = map_pixels(_as_classes, data, dtype=np.uint8)
    return schema.variable(data, schema.scl_attrs())


def _as_classes(block: NDArray) -> NDArray[np.uint8]:
    """Bring classes back to uint8: opening with a fill value has made them float with NaN."""
    failed = block == read_failed_value(block.dtype)
    # What is no class of Sen2Cor's is no data, rather than some class after wrapping around.
    known = np.where((block >= 0) & (block <= max(schema.SCL_CLASSES)), block, 0).astype(np.uint8)
    return np.where(failed, np.uint8(read_failed_value(known.dtype)), known)
