"""A small file that the workers of one machine share: replaced whole, changed under a lock."""

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from gateway.errors import StoreUnavailable

log = logging.getLogger("gateway.fleet")

T = TypeVar("T")
Value = TypeVar("Value")


class SharedFile(Generic[Value]):
    """JSON of type `kind` at `path`; `empty` makes what is there when there is none. Raises StoreUnavailable.

    One that is damaged counts as none: it is replaced whole, so only a machine that crashed leaves such a file.
    """

    def __init__(self, path: Path, kind: Any, empty: Callable[[], Value]) -> None:  # noqa: ANN401 - a type
        self._path = path
        self._lock = path.with_suffix(".lock")
        self._decoder = msgspec.json.Decoder(kind)
        self._empty = empty
        self._seen = (0, 0)
        self._value = empty()

    def read(self) -> Value:
        """What is in the file; it is read only if it was changed."""
        try:
            status = self._path.stat()
            if (status.st_mtime_ns, status.st_ino) != self._seen:
                self._value = self._decoded(self._bytes())
                self._seen = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            return self._empty()
        except OSError as exc:
            raise _unavailable() from exc
        return self._value

    async def change(self, step: Callable[[Value], tuple[Value, T]]) -> T:
        """One atomic step: from what is there to what shall be there, and a result."""

        def work() -> T:
            with self._alone():
                before = self._bytes()
                value, result = step(self._decoded(before))
                if (after := msgspec.json.encode(value)) != before:
                    self._save(after)
            return result

        try:
            return await asyncio.to_thread(work)
        except OSError as exc:
            raise _unavailable() from exc

    def _bytes(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return msgspec.json.encode(self._empty())

    def _decoded(self, data: bytes) -> Value:
        try:
            found: Value = self._decoder.decode(data)
        except msgspec.DecodeError:
            log.warning("%s is damaged and begins anew", self._path)
            return self._empty()
        return found

    def _save(self, data: bytes) -> None:
        new = self._path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        new.replace(self._path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("The file that workers share cannot be used.", code="store_unavailable")
