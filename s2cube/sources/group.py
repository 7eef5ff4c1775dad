"""Which items make one step of a cube, which of them are duplicates, and which lie on top."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from s2cube import schema
from s2cube.errors import CubeError
from s2cube.sources.scene import Scene

__all__ = ["GroupBy", "layers_of", "steps_of"]

GroupBy = Literal["datatake", "solar_day"]

_SAME_PASS = np.timedelta64(30, "m")
"""One platform sees a place again after 100 minutes at the earliest: 30 lie within one pass."""


def steps_of(scenes: Sequence[Scene], groupby: GroupBy, longitude: float) -> list[list[Scene]]:
    """Return the scenes of each step, in time, the best first, duplicates left out.

    A step is a datatake (by its id; where items have none, one platform and orbit within half an
    hour), or a solar day at `longitude`. Of the same tile of the same datatake only the highest
    processing baseline stays; parts of a tile from different datastrips stay both.
    """
    if groupby == "datatake":
        steps = _datatakes(scenes)
    elif groupby == "solar_day":
        days = schema.solar_day(np.array([scene.time for scene in scenes]), longitude)
        steps = _partition(scenes, [int(day) for day in days])
    else:
        raise CubeError(f"groupby is 'datatake' or 'solar_day', got {groupby!r}.")
    steps = [_deduplicated(step) for step in steps]
    return sorted(steps, key=lambda step: (_start(step), step[0].id))


def _start(step: Sequence[Scene]) -> np.datetime64:
    return min(scene.time for scene in step)


def _partition(scenes: Sequence[Scene], keys: Sequence[Any]) -> list[list[Scene]]:
    groups: dict[Any, list[Scene]] = {}
    for scene, key in zip(scenes, keys, strict=True):
        groups.setdefault(key, []).append(scene)
    return list(groups.values())


def _datatakes(scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Return the scenes by datatake; one without an id belongs to the only one of its pass."""
    passes: list[list[Scene]] = []
    for scene in sorted(scenes, key=lambda s: (s.platform, s.relative_orbit, s.time)):
        last = passes[-1][-1] if passes else None
        if (
            last is not None
            and (last.platform, last.relative_orbit) == (scene.platform, scene.relative_orbit)
            and scene.time - last.time <= _SAME_PASS
        ):
            passes[-1].append(scene)
        else:
            passes.append([scene])
    named: list[Scene] = []
    keys: list[Any] = []
    for number, together in enumerate(passes):
        told = {scene.datatake for scene in together} - {""}
        only = told.pop() if len(told) == 1 else ""
        named += [scene if scene.datatake else replace(scene, datatake=only) for scene in together]
        keys += [scene.datatake or only or number for scene in together]
    return _partition(named, keys)


def _deduplicated(step: Sequence[Scene]) -> list[Scene]:
    """Return the scenes of a step, the newest baseline first, without older versions of the same."""
    best = sorted(step, key=lambda s: s.id)
    best.sort(key=lambda s: (s.baseline_number, s.created), reverse=True)
    kept: dict[Any, Scene] = {}
    for scene in best:
        place = scene.tile or tuple(round(edge, 4) for edge in scene.bbox)
        # On one solar day a tile may be seen by two datatakes: those are no duplicates.
        look = scene.datatake or (scene.platform, scene.relative_orbit, scene.time)
        kept.setdefault((look, place, scene.datastrip), scene)
    return list(kept.values())


def layers_of(
    steps: Sequence[Sequence[Scene]], overlap: Callable[[Scene, Scene], bool]
) -> list[list[list[Scene]]]:
    """Return layers of steps: within one layer the scenes of a step do not meet.

    Scenes that overlap must be compared pixel by pixel, all bands together, so they are read apart;
    scenes side by side whose counts mean the same may be read as one. ``result[k][i]`` are the
    scenes of step ``i`` in layer ``k``; the first layer is on top.
    """
    layers: list[list[list[Scene]]] = []
    for i, step in enumerate(steps):
        for scene in step:
            for layer in layers:
                if all(not overlap(scene, o) and _counts(scene) == _counts(o) for o in layer[i]):
                    layer[i].append(scene)
                    break
            else:
                layers.append([[] for _ in steps])
                layers[-1][i].append(scene)
    return layers


def _counts(scene: Scene) -> dict[str, object]:
    return {band: facts.counts for band, facts in scene.bands.items()}
