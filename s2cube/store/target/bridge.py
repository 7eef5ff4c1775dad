"""Between Zarr and a target: what writes shards and notes them, and what serves a store.

Zarr is imported at the top, for its classes; this file is itself imported late.
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from typing import Any

from zarr.abc.buffer import Buffer
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import BufferPrototype, default_buffer_prototype
from zarr.storage import MemoryStore, WrapperStore

from s2cube.errors import StoreError
from s2cube.store.target.base import ROOT, Facts, Target
from s2cube.store.target.s3 import told

__all__ = ["Recorder", "Served", "in_memory"]


class Recorder(WrapperStore[Store]):
    """Puts the shards of a region through its target, and notes size and checksum on the way out.

    Shards are never read: Zarr would complete one at the array's edge from what lies there, which may be
    torn, or another run's.
    """

    def __init__(
        self,
        target: Target,
        *,
        objects: Mapping[str, bytes] | None = None,
        before: Callable[[str, Facts | None], None] | None = None,
    ) -> None:
        super().__init__(target.array_store(read_only=False))
        self._target = target
        self._objects = objects or {}
        """Metadata as it will be, in place of what is there."""
        self._before = before
        """Told of each file, and what it will be, before it is put or deleted."""
        self.facts: dict[str, Facts | None] = {}
        """By path within the store; None where there was nothing but fill, and so no file."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return metadata, never a shard."""
        if not key.endswith(ROOT):
            return None
        if key in self._objects:
            return prototype.buffer.from_bytes(self._objects[key])
        with _network_told(self._target.name):
            return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return metadata, never a shard."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def set(self, key: str, value: Buffer) -> None:
        """Put a shard, whole or not at all."""
        content = memoryview(value.as_numpy_array())  # type: ignore[arg-type]  # numpy arrays are buffers
        facts = (content.nbytes, zlib.crc32(content))
        if self._before is not None:
            await asyncio.to_thread(self._before, key, facts)
        await asyncio.to_thread(self._target.put, key, content, settle=False)
        self.facts[key] = facts

    async def delete(self, key: str) -> None:
        """Remove a shard that holds nothing but fill."""
        if self._before is not None:
            await asyncio.to_thread(self._before, key, None)
        await asyncio.to_thread(self._target.delete, [key])
        self.facts[key] = None


class Served(WrapperStore[Store]):
    """A store as it is read: its root from wherever it waits, and only files that are to be shown."""

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        root: bytes | None = None,
        shows: Callable[[str], bool] | None = None,
        token: str = "",
    ) -> None:
        super().__init__(store)
        self._name = name
        self._how: dict[str, Any] = {"root": root, "shows": shows, "token": token}

    def _with_store(self, store: Store) -> "Served":
        return type(self)(store, self._name, **self._how)

    def __str__(self) -> str:
        return self._name

    def __dask_tokenize__(self) -> tuple[str, str]:
        # What was written, not how it is reached: no credentials, no time of change.
        return self._name, self._how["token"]

    def _shown(self, key: str) -> bool:
        return self._how["shows"] is None or bool(self._how["shows"](key))

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object, or a part of it; None where it is not there, or not to be shown."""
        if key == ROOT and self._how["root"] is not None:
            return prototype.buffer.from_bytes(self._how["root"])
        if not self._shown(key):
            return None
        with _network_told(self._name):
            return await super().get(key, prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of objects, as :meth:`get` does."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Return whether there is such an object, and it is to be shown."""
        if key == ROOT and self._how["root"] is not None:
            return True
        if not self._shown(key):
            return False
        with _network_told(self._name):
            return await super().exists(key)

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, part in requests:
            yield key, await self.get(key, prototype, part)


def in_memory(objects: Mapping[str, bytes]) -> tuple[Store, dict[str, Buffer]]:
    """Return a store in memory that holds `objects`, and the same as its contents."""
    from_bytes = default_buffer_prototype().buffer.from_bytes
    held = {key: from_bytes(content) for key, content in objects.items()}
    return MemoryStore(held), held


@contextlib.contextmanager
def _network_told(name: str) -> Iterator[None]:
    """Let what an object store says come out as a StoreError, without secrets; it can be pickled."""
    failure = None
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("obstore"):
            raise
        failure = StoreError(f"{name} could not be read: {told(error, {})} Reading again may help.")
    if failure is not None:
        raise failure
