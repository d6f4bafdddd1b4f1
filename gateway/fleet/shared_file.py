"""A small file that the workers of one machine share: replaced whole, changed under a lock."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from gateway.alone import alone, replace, unavailable

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
            raise unavailable() from exc
        return self._value

    async def change(self, step: Callable[[Value], tuple[Value, T]]) -> T:
        """One atomic step: from what is there to what shall be there, and a result."""

        def work() -> T:
            before = self._bytes()
            value, result = step(self._decoded(before))
            if (after := msgspec.json.encode(value)) != before:
                replace(self._path, after)
            return result

        return await alone(self._lock, work)

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
