"""Where products lie: folders and zip files, which are never unpacked."""

import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from s2cube.errors import CatalogError, ReadError

__all__ = ["Product", "images_in", "products_in"]

PRODUCT_XML: Final = re.compile(
    r"MTD_MSIL(1C|2A)\.xml|S2[A-Z]_\w+_MTD_SAFL(1C|2A)_\w+\.xml", re.IGNORECASE
)
"""The metadata file at the root of a product, today's and that of before December 2016."""
IMAGES: Final = (".jp2", ".tif", ".tiff")
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
            return str(self.path / name)
        # Braces: the zip file may have any suffix, and a folder above it be called *.zip.
        return f"/vsizip/{{{self.path}}}/{self.inside}{name}"

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
                _refuse_large(archive.getinfo(self.inside + name).file_size, self.where(name))
                return archive.read(self.inside + name)
        except ReadError:
            raise
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, OSError) as error:
            # RuntimeError: it is encrypted. NotImplementedError: a compression nobody uses.
            raise ReadError(f"Cannot read {self.where(name)}: {error}") from None


def _refuse_large(size: int, where: str) -> None:
    if size > LARGEST_XML:
        raise ReadError(f"{where} has {size / 2**20:.0f} MB: that is no metadata of a product.")


def products_in(path: Path) -> list[Product]:
    """Return the products at `path`: a product, a zip file, or a folder of them at any depth.

    Raises
    ------
    ReadError
        A zip file is cut off, or has members that lie outside of it.
    CatalogError
        A folder called ``*.SAFE`` is no product.
    """
    if path.is_file():
        return _zipped(path) if path.suffix.lower() == ".zip" else []
    return list(_walk(path))


def _walk(path: Path) -> Iterator[Product]:
    entries = sorted(path.iterdir())
    if any(PRODUCT_XML.fullmatch(entry.name) for entry in entries):
        yield Product(path, tuple(_files_below(path)))
        return
    if path.suffix.lower() == ".safe":
        raise CatalogError(
            f"{path} holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml: the product is not complete."
        )
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry)
        elif entry.suffix.lower() == ".zip":
            yield from _zipped(entry)


def _files_below(path: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from sorted(
            (Path(folder) / name).relative_to(path).as_posix()
            for name in names
            if not name.startswith(_HIDDEN)
        )


def _zipped(path: Path) -> list[Product]:
    """Return the products in a zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member.filename for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise ReadError(
            f"Cannot read {path}: {error}. Was its download cut off? Fetch it again."
        ) from None
    for member in members:
        parts = PurePosixPath(member)
        if parts.is_absolute() or ".." in parts.parts or "\\" in member or ":" in parts.parts[0]:
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
    """Return the images (JP2, GeoTIFF) at `path`: a file, or a folder with files at any depth."""
    if path.is_file():
        return [path] if path.suffix.lower() in IMAGES else []
    return [path / name for name in _files_below(path) if name.lower().endswith(IMAGES)]
