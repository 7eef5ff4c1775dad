"""Where products lie: folders and zip files, which are never unpacked."""

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn

from s2cube.errors import CatalogError, ReadError

__all__ = ["Product", "images_in", "openable", "products_in"]

PRODUCT_XML: Final = re.compile(
    r"MTD_MSIL(1C|2A)\.xml|S2[A-Z]_\w+_MTD_SAFL(1C|2A)_\w+\.xml", re.IGNORECASE
)
"""The metadata file at the root of a product, today's and that of before December 2016."""
IMAGES: Final = (".jp2", ".tif", ".tiff")
_INNER: Final = ("granule", "datastrip")
"""Folders of a product that hold metadata or images."""
_HIDDEN: Final = "."
"""How names begin of what systems put beside files, such as ``._T29UNU_20221005T115411_B04.jp2``."""
LARGEST_XML: Final = 64 * 2**20
"""Bytes; those of granules, the largest, have less than one megabyte."""


@dataclass(frozen=True)
class Product:
    """The files of one product."""

    path: Path
    """Its folder, or the zip file that holds it."""
    names: tuple[str, ...]
    """Its files, relative to its root, with ``/``."""
    inside: str | None = None
    """Its root within the zip file (empty, or ending in ``/``); None for a folder."""

    @property
    def name(self) -> str:
        """What its folder or zip file is called, without the suffix."""
        root = PurePosixPath(self.inside or self.path.as_posix())
        return re.sub(r"(\.SAFE|\.zip)+$", "", root.name, flags=re.IGNORECASE)

    def where(self, name: str) -> str:
        """Return the path of a file, for errors."""
        return str(self.path / (self.inside or "") / name)

    def href(self, name: str) -> str:
        """Return what GDAL opens a file by."""
        if self.inside is None:
            return openable(self.path / name)
        path = openable(self.path)
        if _unbalanced(path):
            raise CatalogError(f"GDAL cannot open {path}: its path has a brace without its other one.")
        # Braces: the zip file may have any suffix, and a folder above it be called *.zip.
        return f"/vsizip/{{{path}}}/{self.inside}{name}"

    def read(self, name: str) -> bytes:
        """Return the content of a metadata file.

        Raises
        ------
        ReadError
            It cannot be read, or is absurdly large.
        """
        try:
            if self.inside is None:
                _refuse_large((self.path / name).stat().st_size, self.where(name))
                return (self.path / name).read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                wanted = self.inside + name
                member = next(one for one in archive.infolist() if _posix(one.filename) == wanted)
                _refuse_large(member.file_size, self.where(name))
                return archive.read(member)
        except ReadError:
            raise
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, OSError) as error:
            # RuntimeError: it is encrypted. NotImplementedError: a compression nobody uses.
            raise ReadError(f"Cannot read {self.where(name)}: {error}") from None


def _refuse_large(size: int, where: str) -> None:
    if size > LARGEST_XML:
        raise ReadError(f"{where} has {size / 2**20:.0f} MB: that is no metadata of a product.")


def openable(path: Path) -> str:
    """Return a path as GDAL is given it.

    Raises
    ------
    CatalogError
        It holds a backslash, which becomes a slash on the way there.
    """
    if "\\" in str(path):
        raise CatalogError(
            f"{path} has a backslash in its name, by which it cannot be opened: rename it, or open it "
            "through a link."
        )
    return str(path)


def _unbalanced(text: str) -> bool:
    """Return whether a brace in `text` has no other one: GDAL would end the path there."""
    depth = 0
    for brace in re.findall("[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return True
    return depth != 0


def products_in(paths: Sequence[Path]) -> list[Product]:
    """Return the products at `paths`, each once: a product or a part of one, a zip file, or a folder.

    Folders are searched at any depth, through links too.

    Raises
    ------
    ReadError
        A zip file is cut off, or has members that lie outside of it; a folder cannot be listed.
    CatalogError
        A folder called ``*.SAFE`` is no product; a metadata file belongs to none.
    """
    seen: set[str] = set()
    return [product for path in paths for product in _products_at(path, seen)]


def _products_at(path: Path, seen: set[str]) -> Iterator[Product]:
    if (root := _root_above(path)) is not None:
        yield from _products_below(root, seen)
    elif path.is_dir():
        yield from _products_below(path, seen)
    elif path.suffix.lower() == ".zip" and _first_time(path, seen):
        yield from _zipped(path)


def _root_above(path: Path) -> Path | None:
    """Return the product that `path`, a metadata file or a folder of its granule, is a part of.

    Raises
    ------
    CatalogError
        It is a metadata file of no product, or of one tile of a product of several.
    """
    metadata = path.is_file() and path.suffix.lower() in (".xml", ".safe")
    if path.is_file() and not metadata:
        return None
    # Not all folders above: they may be large, or not ours to list.
    inside = [part.parent for part in (path, *path.parents) if part.name.lower() in _INNER]
    root = next(filter(_is_product, [path.parent] * metadata + inside), None)
    if root is None:
        if metadata:
            raise CatalogError(
                f"{path} belongs to no product: there is no MTD_MSIL1C.xml or MTD_MSIL2A.xml above it."
            )
        return None
    parts = path.relative_to(root).parts
    if parts[0].lower() == "granule" and len(parts) > 1:
        tiles = sum(entry.is_dir() for entry in (root / parts[0]).iterdir())
        if tiles > 1:
            raise CatalogError(
                f"{path} belongs to one of the {tiles} tiles of a product: open that ({root}), with "
                "bbox= where one tile is enough."
            )
    return root


def _is_product(folder: Path) -> bool:
    return any(PRODUCT_XML.fullmatch(entry.name) for entry in folder.iterdir())


def _products_below(path: Path, seen: set[str]) -> Iterator[Product]:
    for folder, folders, names in _walk(path, seen):
        if any(map(PRODUCT_XML.fullmatch, names)):
            folders.clear()
            yield Product(folder, tuple(_files_below(folder)))
            continue
        if folder.suffix.lower() == ".safe":
            raise CatalogError(
                f"{folder} holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml: the product is not complete."
            )
        for name in names:
            one = folder / name
            _refuse_lost(one)
            if one.suffix.lower() == ".zip" and _first_time(one, seen):
                yield from _zipped(one)


def _first_time(path: Path, seen: set[str]) -> bool:
    """Return whether `path` was not seen by any name, and take note of it."""
    real = os.path.realpath(path)
    if real in seen:
        return False
    seen.add(real)
    return True


def _walk(top: Path, seen: set[str]) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk as :func:`os.walk` does, in order, through links too, into each folder once.

    Links come last, so that a folder goes by its own place where it has one below `top`, and loops end.
    Hidden files are left out.
    """
    later = [top]
    for start in later:
        for name, folders, names in os.walk(start, onerror=_refuse_unlisted):
            folder = Path(name)
            if not _first_time(folder, seen):
                folders.clear()
                continue
            folders.sort()
            yield folder, folders, sorted(one for one in names if not one.startswith(_HIDDEN))
            later += [folder / one for one in folders if (folder / one).is_symlink()]


def _refuse_unlisted(error: OSError) -> NoReturn:
    raise ReadError(f"Cannot list {error.filename}: {error.strerror}.") from None


def _refuse_lost(path: Path) -> None:
    """Raise where `path` is a link to nowhere that may have led to a folder of data."""
    if path.suffix.lower() in ("", ".safe") and path.is_symlink() and not path.exists():
        raise ReadError(
            f"{path} is a link to {os.readlink(path)}, which is not there. Is a disk not mounted? "
            "Otherwise remove the link."
        )


def _files_below(path: Path) -> Iterator[str]:
    for folder, _, names in _walk(path, set()):
        yield from ((folder / name).relative_to(path).as_posix() for name in names)


def _posix(member: str) -> str:
    """Return the name of a zip file's member as GDAL calls it; those of Windows may have backslashes."""
    return member.removeprefix("./").replace("\\", "/")


def _zipped(path: Path) -> list[Product]:
    """Return the products in a zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.filename for member in archive.infolist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise ReadError(
            f"Cannot read {path}: {error}. Was its download cut off? Fetch it again."
        ) from None
    members = [_posix(name) for name in names if not name.endswith(("/", "\\"))]
    for member in members:
        parts = PurePosixPath(member).parts
        if not parts:
            raise ReadError(f"{path} holds a member called {member!r}, which is no name. Repack it.")
        if parts[0] == "/" or ".." in parts or ":" in parts[0]:
            raise ReadError(
                f"{path} holds {member!r}, which lies outside of it: no product has such members. "
                "Nothing of it was read."
            )
    if len(set(members)) < len(members):
        raise ReadError(f"{path} holds two members of one name: which one counts cannot be known.")
    roots = sorted(
        member[: -len(name)]
        for member in members
        if PRODUCT_XML.fullmatch(name := PurePosixPath(member).name)
    )
    return [
        Product(
            path,
            tuple(
                member[len(root) :]
                for member in members
                if member.startswith(root) and not PurePosixPath(member).name.startswith(_HIDDEN)
            ),
            root,
        )
        for root in dict.fromkeys(roots)
    ]


def images_in(path: Path) -> list[Path]:
    """Return the images (JP2, GeoTIFF) at `path`: a file, or a folder with files at any depth.

    Raises
    ------
    ReadError
        A folder cannot be listed.
    """
    if path.is_file():
        return [path] if path.suffix.lower() in IMAGES else []
    found = []
    for name in _files_below(path):
        _refuse_lost(path / name)
        if name.lower().endswith(IMAGES):
            found.append(path / name)
    return found
