"""The errors of s2cube: few, and each also a builtin, so that ``except ValueError`` keeps working."""

__all__ = [
    "CatalogError",
    "CubeError",
    "HarmonizationError",
    "ReadError",
    "ServiceError",
    "StoreError",
    "StoreMismatchError",
    "UnfinishedStoreError",
]


class CubeError(ValueError):
    """A Dataset does not keep the cube contract, or a verb was asked for what it cannot give."""


class HarmonizationError(CubeError):
    """The scale or offset of a reflectance band is unknown or contradictory."""


class CatalogError(LookupError):
    """A catalogue is empty, or holds nothing (or not the asset) that was asked for."""


class ReadError(OSError):
    """A source file could not be read."""


class ServiceError(OSError):
    """A service refuses the key, the credits, the order or the request: asking again would not help."""


class StoreError(OSError):
    """A store could not be written, or is not what it should be."""


class StoreMismatchError(StoreError, ValueError):
    """A store exists and was made with other settings."""


class UnfinishedStoreError(StoreError):
    """A store was begun and not finished."""
