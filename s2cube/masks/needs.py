"""What methods need: a cube that they were made for, and an extra that is installed."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final

import xarray as xr

from s2cube.errors import CubeError
from s2cube.schema import BANDS, SCL

__all__ = ["NEEDS", "check_cube", "check_extra", "check_version", "level_of"]

NEEDS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "scl": (("L2A",), (SCL,)),
    "s2cloudless": (
        ("L1C",),
        ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12"),
    ),
    "csmask": (("L1C", "L2A"), ("B02", "B03", "B04", "B08")),
}
"""By method: the levels that it was made for, and the variables without which it does not work."""


def level_of(cube: xr.Dataset) -> str:
    """Return the processing level of `cube`, ``""`` where it is unknown."""
    return str(cube.coords["processing_level"].item()) if "processing_level" in cube.coords else ""


def check_cube(cube: xr.Dataset, method: str, why: str) -> None:
    """Refuse a cube that `method` was not made for, and name the methods that would take it.

    Parameters
    ----------
    cube
        A valid cube.
    method
        A name of :data:`NEEDS`.
    why
        What the method was made with: the reason in the message.

    Raises
    ------
    CubeError
        The level is another or unknown, or a band is missing.
    """
    levels, names = NEEDS[method]
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
    fit = [
        repr(method)
        for method, (levels, names) in NEEDS.items()
        if level in levels and all(name in cube for name in names)
    ]
    if fit:
        return f"This cube will do for {' and '.join(fit)}."
    made_for = [
        f"{method!r} needs {', '.join(names)}"
        for method, (levels, names) in NEEDS.items()
        if level in levels
    ]
    return f"Open it with more bands: of level {level}, {'; '.join(made_for)}."


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
