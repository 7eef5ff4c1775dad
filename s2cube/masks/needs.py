"""What methods need: a cube that they were made for, and an extra that is installed."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final, NamedTuple

import xarray as xr

from s2cube.errors import CubeError
from s2cube.schema import BANDS, SCL, Status

__all__ = ["METHODS", "Method", "check_cube", "check_extra", "check_version", "level_of"]


class Method(NamedTuple):
    """A method of masking: where it is, what it takes, what it tells."""

    module: str
    """Of this room, with its function ``detect(cube, **options)``."""
    levels: tuple[str, ...]
    """Processing levels that it was made for; none where its model says."""
    needs: tuple[str, ...]
    """Variables without which it does not work."""
    tells: tuple[Status, ...]
    """States that it knows beside clear and cloud."""


_BOTH: Final = ("L1C", "L2A")
_FOUR: Final = ("B02", "B03", "B04", "B08")
_TREES: Final = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
_SHADE, _THIN = Status.SHADOW, Status.THIN_CLOUD
_GROUND: Final = (Status.SNOW, Status.CLEAR_WATER)
METHODS: Final = {
    "scl": Method("scl", ("L2A",), (SCL,), (_THIN, _SHADE, *_GROUND)),
    "spectral": Method("spectral", _BOTH, _FOUR, (_THIN, *_GROUND)),
    "spectral-temporal": Method("temporal", _BOTH, _FOUR, (_THIN, _SHADE, *_GROUND)),
    "s2cloudless": Method("cloudless", ("L1C",), _TREES, ()),
    "csmask": Method("csmask", _BOTH, _FOUR, (_SHADE,)),
    "segmentation": Method("segmentation", (), (), (_THIN, _SHADE, *_GROUND)),
}
"""By the name that users give."""


def level_of(cube: xr.Dataset) -> str:
    """Return the processing level of `cube`, ``""`` where it is unknown."""
    return str(cube.coords["processing_level"].item()) if "processing_level" in cube.coords else ""


def check_cube(
    cube: xr.Dataset,
    method: str,
    why: str,
    *,
    needs: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
) -> None:
    """Refuse a cube that `method` was not made for, and name the methods that would take it.

    Parameters
    ----------
    cube
        A valid cube.
    method
        Its name among :data:`METHODS`.
    why
        What the method was made with: the reason in the message.
    needs
        Levels and variables, for a method whose model says them.

    Raises
    ------
    CubeError
        The level is another or unknown, or a band is missing.
    """
    levels, names = needs or METHODS[method][1:3]
    level = level_of(cube)
    if level not in levels:
        raise CubeError(
            f"{method!r} needs level {' or '.join(levels)}, the cube is {level or 'of unknown level'}: "
            f"{why}. {_instead(cube, level)}"
        )
    if missing := [name for name in names if name not in cube]:
        called = ", ".join(f"{name} ({BANDS[name].common_name})" for name in missing)
        raise CubeError(
            f"{method!r} needs {called}, which the cube does not hold. {_instead(cube, level)}"
        )


def _instead(cube: xr.Dataset, level: str) -> str:
    """Return which methods would take `cube`."""
    if not level:
        return "Say the level when you open it: as_cube(..., level='L1C')."
    made_for = {name: one.needs for name, one in METHODS.items() if level in one.levels}
    fit = [repr(name) for name, needs in made_for.items() if all(band in cube for band in needs)]
    if fit:
        most = ", ".join(fit[:-1])
        return f"This cube will do for {f'{most} and ' if most else ''}{fit[-1]}."
    words = "; ".join(f"{name!r} needs {', '.join(needs)}" for name, needs in made_for.items())
    return f"Open it with more bands: of level {level}, {words}."


def check_extra(extra: str, package: str, *modules: str) -> str:
    """Return the version of an extra's package, once its modules are found to be there.

    Nothing is imported.

    Raises
    ------
    ImportError
        Something is not installed; the message names the extra.
    """
    try:
        found = version(package)
    except PackageNotFoundError:
        found = ""
    if not found or any(find_spec(module) is None for module in modules):
        raise ImportError(
            f"The mask method {extra!r} needs an extra: python -m pip install 's2cube-ard[{extra}]'."
        )
    return found


def check_version(package: str, wanted: str) -> None:
    """Refuse to work with another version than the one that the graph was made for.

    Raises
    ------
    ImportError
        This process has another version, or none: two workers must not mask with two models.
    """
    try:
        found = version(package)
    except PackageNotFoundError:
        found = "none"
    if found != wanted:
        raise ImportError(
            f"The graph was made with {package} {wanted}, this worker has {found}: install the same."
        )
