"""Files that the workers of one machine share: changed by one of them at a time, and replaced whole."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.errors import StoreUnavailable

T = TypeVar("T")


async def alone(lock: Path, step: Callable[[], T]) -> T:
    """What `step` gives, run in a thread while nobody else holds the file `lock`; its directory is made if need be.

    Raises StoreUnavailable where the system refuses.
    """

    def work() -> T:
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            return step()
        finally:
            os.close(handle)

    try:
        return await asyncio.to_thread(work)
    except OSError as exc:
        raise unavailable() from exc


def replace(path: Path, data: bytes, *, synced: bool = False) -> None:
    """Put `data` in the place of the file: who reads sees all of the old or all of the new.

    `synced`: so it stays if the machine crashes.
    """
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        if synced:
            file.flush()
            os.fsync(file.fileno())
    new.replace(path)


def unavailable() -> StoreUnavailable:
    """What the system refused."""
    return StoreUnavailable("A file that the workers share cannot be used.", code="store_unavailable")
