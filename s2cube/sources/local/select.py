"""Which of the scenes found are opened, and which bands of them."""

from collections.abc import Iterable, Sequence

from s2cube import schema
from s2cube.errors import CatalogError
from s2cube.sources.local.found import Found

__all__ = ["choose_bands", "of_level"]


def of_level(found: list[Found], level: str | None) -> list[Found]:
    """Return the scenes of one processing level: the one asked for, or the only one there is.

    Raises
    ------
    CatalogError
        They are of both, of none that is told, or none is of the one asked for.
    """
    told = {one.scene.level for one in found}
    if level is None:
        if None in told:
            one = next(one for one in found if one.scene.level is None)
            raise CatalogError(
                f"Nothing tells the processing level of {one.where}: pass level='L1C' (top of "
                "atmosphere) or level='L2A' (surface)."
            )
        if len(told) > 1:
            names = [
                next(one.where for one in found if one.scene.level == each) for each in ("L1C", "L2A")
            ]
            raise CatalogError(
                f"There are products of both levels, {names[0]} (L1C) and {names[1]} (L2A): level= says "
                "which to open."
            )
        return found
    kept = [one for one in found if one.scene.level in (level, None)]
    if not kept:
        raise CatalogError(f"Nothing is of level {level}; {found[0].where} is {found[0].scene.level}.")
    return kept


def choose_bands(found: Sequence[Found], bands: str | Iterable[str] | None) -> list[str]:
    """Return the bands to open: those asked for, or all that every scene has; SCL where all have it.

    Raises
    ------
    CatalogError
        A scene lacks one that was asked for, or that its metadata list; a file is of no known band.
    """
    common = frozenset.intersection(*(one.held for one in found))
    if bands is None:
        for one in found:
            if one.absent:
                raise CatalogError(
                    f"{one.where} is not complete: its metadata list {', '.join(one.absent)}, and there "
                    f"is no file. Fetch it again, or name the bands to open ({_listing(one)})."
                )
            if one.unknown:
                more = f" (and {len(one.unknown) - 1} more of its scene)" if one.unknown[1:] else ""
                raise CatalogError(
                    f"{one.unknown[0]}{more} fits the pattern, and its {{band}} is none that is known: "
                    "say what it is with names={'your name': 'B04'}, that it is none with names={'your "
                    f"name': None}}, or which to open with bands= ({_listing(one)})."
                )
        wanted = [band for band in (*schema.BANDS, schema.SCL) if band in common]
        if not set(wanted) - {schema.SCL}:
            raise CatalogError(
                f"No band is in all {len(found)} scenes; {found[0].where} has {_listing(found[0])}."
            )
        return wanted
    names = schema.names_of(bands)
    asked = list(
        dict.fromkeys(schema.SCL if schema.is_scl(name) else schema.band_id(name) for name in names)
    )
    if asked == [schema.SCL]:
        raise CatalogError("SCL alone is no cube: ask for at least one reflectance band.")
    for one in found:
        if missing := [band for band in asked if band not in one.held]:
            raise CatalogError(
                f"{one.where} has no {', '.join(missing)}; it has {_listing(one)}. Leave these bands or "
                "this scene out."
            )
    return asked + [schema.SCL] * (schema.SCL in common and schema.SCL not in asked)


def _listing(one: Found) -> str:
    return ", ".join(band for band in (*schema.BANDS, schema.SCL) if band in one.held)
