"""Stores at ``s3://bucket/prefix``: any service that speaks S3, through obstore."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from s2cube.errors import StoreError
from s2cube.store.target.base import AT_ONCE, Content, Target, is_safe

__all__ = ["S3Target", "told"]

RETRY: Final[dict[str, Any]] = {}
"""What obstore does by default: ten tries in three minutes, of what is worth another."""
_CLIENT: Final = ("allow_http", "allow_invalid_certificates", "connect_timeout", "timeout", "proxy_url")
"""Options of the HTTP client; all others are of S3."""
_PREFIX: Final = re.compile(r"[\w./-]+", re.ASCII)
_REFUSED: Final = re.compile(r"status code: 40[13]\b")
_SECRET: Final = ("key", "token", "secret", "password", "credential")


@dataclass(frozen=True)
class S3Target(Target):
    """A prefix of a bucket.

    Objects are put whole, in one request each: no half of one is ever there, and no upload is left open.
    """

    bucket: str
    prefix: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @classmethod
    def parse(cls, address: str, options: Mapping[str, Any]) -> "S3Target":
        """Return the target at ``s3://bucket/prefix``.

        Raises
        ------
        StoreError
            The address is none, holds a password, or an option is unknown.
        ImportError
            obstore is not installed.
        """
        bucket, _, prefix = address.removeprefix("s3://").rstrip("/").partition("/")
        if any(sign in address for sign in "@?#"):
            raise StoreError(
                "An address is s3://bucket/name, without user, password or query: credentials belong "
                "into the environment (AWS_ACCESS_KEY_ID, ...) or storage_options=."
            )
        if not bucket or not is_safe(prefix) or not _PREFIX.fullmatch(prefix):
            raise StoreError(
                f"{address} cannot be a store: name a prefix in a bucket, s3://bucket/name, of letters, "
                "digits, '.', '-', '_' and '/'."
            )
        target = cls(bucket, prefix, dict(options))
        target._client  # noqa: B018 - so that wrong options are told now
        return target

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("bucket", "prefix", "options")}

    def _open(self, prefix: str | None) -> Any:
        try:
            from obstore.store import S3Store
        except ImportError:
            raise ImportError("Stores at s3:// need obstore: pip install 's2cube-ard[s3]'.") from None
        from obstore.exceptions import BaseError

        client = {name: value for name, value in self.options.items() if name in _CLIENT}
        config = {name: value for name, value in self.options.items() if name not in _CLIENT}
        endpoint = next(
            (
                value
                for name, value in config.items()
                if name.lower().endswith(("endpoint", "endpoint_url"))
            ),
            os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "",
        )
        if str(endpoint).startswith("http://"):
            client.setdefault("allow_http", True)  # the user's own words
        try:
            return S3Store(
                self.bucket,
                prefix=prefix,
                config=config,  # type: ignore[arg-type]
                client_options=client,  # type: ignore[arg-type]
                retry_config=RETRY or None,  # type: ignore[arg-type]
            )
        except (BaseError, TypeError, ValueError) as error:
            message = told(error, self.options)
        raise StoreError(
            f"storage_options are not right: {message} Known are those of obstore's S3Store, such as "
            "access_key_id, secret_access_key, session_token, region, endpoint, skip_signature."
        )

    @cached_property
    def _client(self) -> Any:
        return self._open(None)

    def _ask(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Ask the service; what is not there raises FileNotFoundError, all else StoreError."""
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            return function(self._client, *arguments, **keywords)
        except FileNotFoundError as error:
            if "NoSuchBucket" not in str(error):
                raise
            failure: Exception = error
        except (AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, OSError) as error:
            failure = error
        raise self._failure(failure)  # outside of the handler: nothing of obstore goes along

    def _failure(self, error: Exception) -> StoreError:
        message = told(error, self.options)
        if "NoSuchBucket" in message:
            return StoreError(
                f"There is no bucket {self.bucket!r}: make it, or check endpoint and region. {message}"
            )
        if _REFUSED.search(message):
            return StoreError(
                f"{self.name}: access was refused. Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
                f"AWS_SESSION_TOKEN and AWS_REGION, or what you gave as storage_options=. {message}"
            )
        return StoreError(
            f"{self.name} could not be reached: {message} What is there stays; the same call goes on."
        )

    @property
    def name(self) -> str:
        """The address."""
        return f"s3://{self.bucket}/{self.prefix}"

    def _key(self, key: str) -> str:
        if not is_safe(key):
            raise StoreError(f"{key!r} leads out of {self.name}: what names it is damaged or forged.")
        return f"{self.prefix}/{key}" if self.prefix else key

    def beside(self, suffix: str) -> "S3Target":  # noqa: D102
        return S3Target(self.bucket, f"{self.prefix}{suffix}", self.options)

    def alone(self) -> tuple["S3Target", str]:  # noqa: D102
        parent, _, name = self.prefix.rpartition("/")
        return S3Target(self.bucket, parent, self.options), name

    def put(self, key: str, content: Content, *, settle: bool = True) -> None:  # noqa: D102
        import obstore

        del settle  # what a service has confirmed stays
        self._put(obstore.put, self._key(key), content)

    def _put(self, function: Any, *arguments: Any, **keywords: Any) -> None:
        try:
            self._ask(function, *arguments, use_multipart=False, **keywords)
        except FileNotFoundError as error:
            failure = self._failure(error)
        else:
            return
        raise failure

    def create(self, key: str, content: bytes) -> bool:  # noqa: D102
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            self._put(obstore.put, self._key(key), content, mode="create")
        except AlreadyExistsError:
            return False
        except NotImplementedError:  # a service without conditions: at worst, two do the same work
            if self.get(key) is not None:
                return False
            self.put(key, content)
        return True

    def swap(self, key: str, seen: bytes, content: bytes) -> bool:  # noqa: D102
        import obstore
        from obstore.exceptions import PreconditionError

        def tagged(client: Any, path: str) -> tuple[bytes, str | None]:
            found = obstore.get(client, path)
            return bytes(found.bytes()), found.meta["e_tag"]

        try:
            found, tag = self._ask(tagged, self._key(key))
            if found != seen:
                return False
            self._put(obstore.put, self._key(key), content, mode={"e_tag": tag})
        except (FileNotFoundError, PreconditionError):
            return False
        except NotImplementedError:
            self.put(key, content)
        return True

    def settle(self, keys: Iterable[str]) -> None:  # noqa: D102
        del keys

    def get(self, key: str) -> bytes | None:  # noqa: D102
        import obstore

        def whole(client: Any, path: str) -> bytes:
            return bytes(obstore.get(client, path).bytes())

        try:
            content: bytes = self._ask(whole, self._key(key))
        except FileNotFoundError:
            return None
        return content

    def _head(self, key: str) -> Any:
        import obstore

        try:
            return self._ask(obstore.head, self._key(key))
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:  # noqa: D102
        head = self._head(key)
        return None if head is None else int(head["size"])

    def modified(self, key: str) -> float | None:  # noqa: D102
        head = self._head(key)
        return None if head is None else float(head["last_modified"].timestamp())

    def sizes(self, prefix: str = "") -> dict[str, int]:  # noqa: D102
        import obstore

        def listed(client: Any, folder: str) -> dict[str, int]:
            pages = obstore.list(client, folder, chunk_size=1000)
            return {item["path"]: int(item["size"]) for page in pages for item in page}

        found = self._ask(listed, f"{self.prefix}/{prefix}".rstrip("/"))
        return {path.removeprefix(f"{self.prefix}/"): size for path, size in found.items()}

    def delete(self, keys: Iterable[str]) -> None:  # noqa: D102
        import obstore

        if paths := [self._key(key) for key in keys]:
            try:
                self._ask(obstore.delete, paths)
            except FileNotFoundError:
                return

    def delete_tree(self) -> None:  # noqa: D102
        self.delete(self.sizes())

    def carry_to(self, other: Target) -> bool:  # noqa: D102
        import obstore

        assert isinstance(other, S3Target)

        def copy(key: str) -> None:
            self._ask(obstore.copy, self._key(key), other._key(key))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(copy, self.sizes()))  # within the service
        return False

    @property
    def vacant(self) -> bool:
        """Whether no object has this prefix or is called like it."""
        import obstore

        def first(client: Any, folder: str) -> Any:
            return next(iter(obstore.list(client, folder, chunk_size=1)), None)

        above, name = self.alone()
        return not self._ask(first, self.prefix) and above.size(name) is None

    def array_store(self, *, read_only: bool) -> Any:  # noqa: D102
        from zarr.storage import ObjectStore

        return ObjectStore(self._open(self.prefix), read_only=read_only)


def told(error: BaseException, options: Mapping[str, Any]) -> str:
    """Return what an error of obstore says, in a line and without anything secret."""
    text = " ".join(str(error).partition("Debug source")[0].split())[:400]
    secrets = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for name, value in {**secrets, **options}.items():
        if any(word in name.lower() for word in _SECRET) and isinstance(value, str) and len(value) > 3:
            text = text.replace(value, "***")
    return text if text.endswith(".") else f"{text}."
