"""Metadata files of a product: XML that is read with suspicion, and look-ups that name the file."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from s2cube.errors import CatalogError, ReadError

__all__ = ["Metadata", "parse"]


class _NoDoctype(ET.TreeBuilder):
    """Builds the tree, and refuses what could make a small file large or read other files.

    Entities can be defined in a document type declaration only, and no product has one.
    """

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002
        raise ReadError("it declares a document type, which no Sentinel-2 product does")


@dataclass(frozen=True)
class Metadata:
    """One metadata file, read."""

    where: str
    """Its path, for errors."""
    root: ET.Element

    @property
    def kind(self) -> str:
        """Name of the root element, without its namespace."""
        return self.root.tag.rpartition("}")[2]

    def find(self, *tags: str) -> str:
        """Return the text of the first of `tags` that there is, empty where there is none."""
        return next((text for tag in tags for text in self.all(tag)), "")

    def text(self, *tags: str) -> str:
        """Return the text of the first of `tags` that there is.

        Raises
        ------
        CatalogError
            There is none.
        """
        if not (found := self.find(*tags)):
            raise CatalogError(f"{self.where} has no {tags[0]}: it is no complete product metadata.")
        return found

    def number(self, *tags: str) -> float:
        """Return the number in the first of `tags` that there is."""
        return self.as_number(self.text(*tags), tags[0])

    def as_number(self, text: str | None, what: str) -> float:
        """Return `text` as a number.

        Raises
        ------
        CatalogError
            It is none.
        """
        try:
            return float(text or "")
        except ValueError:
            raise CatalogError(f"{self.where}: {what} is {text!r}, not a number.") from None

    def all(self, tag: str) -> Iterator[str]:
        """Yield the texts of all elements `tag` that hold some."""
        for element in self.elements(tag):
            if text := (element.text or "").strip():
                yield text

    def elements(self, tag: str) -> Iterator[ET.Element]:
        """Yield all elements `tag`, wherever they stand: that changed from one format to the next."""
        yield from self.root.iter(tag)


def parse(data: bytes, where: str) -> Metadata:
    """Return the metadata in `data`.

    Parameters
    ----------
    data
        Content of the file.
    where
        Its path, for errors.

    Raises
    ------
    ReadError
        It is no well-formed XML (cut off, for example), or declares a document type.
    """
    try:
        root = ET.fromstring(data, ET.XMLParser(target=_NoDoctype()))  # noqa: S314
    except (ET.ParseError, ReadError) as error:
        raise ReadError(f"Cannot read the metadata {where}: {error}.") from None
    return Metadata(where, root)
