"""Who knows the API key: processes, never tasks.

A task carries a handle, a random name that means nothing elsewhere. The key behind it lives in the
memory of the process that was given it, and of the workers of its Dask client.
"""

import os
import re
import sys
import uuid
from typing import Any, Final

from s2cube.errors import ServiceError

__all__ = ["VARIABLE", "account_of", "conceal", "give", "key_of", "share"]

VARIABLE: Final = "CLEARSKY_API_KEY"
"""Environment variable that holds the key where none is given."""

_given: dict[str, str] = {}
_accounts: dict[str, str] = {}


def give(api_key: str | None) -> str:
    """Remember a key given as an argument and return its handle; empty where none is given.

    Raises
    ------
    ServiceError
        There is no key at all, or it can be none.
    """
    if api_key is None:
        key_of("")
        return ""
    key = _checked(api_key, "api_key=")
    handle = next((name for name, known in _given.items() if known == key), uuid.uuid4().hex)
    _given[handle] = key
    return handle


def key_of(handle: str) -> str:
    """Return the key behind `handle`, else that of the environment.

    Raises
    ------
    ServiceError
        This process knows neither.
    """
    if handle in _given:
        return _given[handle]
    if (found := os.environ.get(VARIABLE)) is not None:
        return _checked(found, VARIABLE)
    if handle:
        raise ServiceError(
            "This process does not know the ClearSKY key that was given as api_key=: a Dask client has "
            f"to be there before the cube is opened; or set {VARIABLE} where the workers run."
        )
    raise ServiceError(f"No ClearSKY key: set the environment variable {VARIABLE}, or pass api_key=.")


def account_of(handle: str) -> str:
    """Return a random name for the key behind `handle`, the same throughout this process."""
    return _accounts.setdefault(key_of(handle), uuid.uuid4().hex)


def _checked(key: object, where: str) -> str:
    # http.client would show a key that is no header's value in its error.
    if not isinstance(key, str) or not re.fullmatch(r"[\x21-\x7e]+", key.strip()):
        raise ServiceError(f"{where} holds no ClearSKY key: a key is one word of plain characters.")
    return key.strip()


def conceal(text: str, handle: str) -> str:
    """Return `text` without the key, which a server may have put into its answer."""
    return text.replace(key_of(handle), "***")


def share(handle: str) -> None:
    """Tell the key behind `handle` to the workers, present and future, of the ambient Dask client."""
    distributed: Any = sys.modules.get("distributed")
    if not handle or distributed is None:
        return
    try:
        client = distributed.default_client()
    except ValueError:
        return
    if client.status != "running" or client.asynchronous:
        return

    class KeyPlugin(distributed.WorkerPlugin):  # type: ignore[misc]
        name = f"s2cube-clearsky-{handle}"

        def __init__(self, key: str) -> None:
            self.key = key

        def __repr__(self) -> str:
            return f"<KeyPlugin {handle}>"

        def setup(self, worker: Any) -> None:  # noqa: ARG002
            _learn(handle, self.key)

    client.register_plugin(KeyPlugin(_given[handle]))


def _learn(handle: str, key: str) -> None:
    _given[handle] = key
