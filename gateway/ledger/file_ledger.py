"""The ledger in two small files beside the sessions, for the workers of one machine."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gateway.alone import alone, replace, unavailable
from gateway.errors import StoreUnavailable
from gateway.ledger.ledger import Entries, Strikes

_MOST = 10_000
"""Addresses that are remembered; beyond that those go that would be forgotten first."""


class FileLedger:
    """A Ledger in `directory`, which is made if need be: files that are replaced whole, under a lock.

    `clock` gives Unix seconds.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._entries = directory / "ledger.json"
        self._strikes = directory / "strikes.json"
        self._lock = directory / "ledger.lock"
        self._clock = clock

    async def read(self, seen: str) -> tuple[str, Entries | None]:
        try:
            status = self._entries.stat()
            version = f"{status.st_mtime_ns}-{status.st_ino}-{status.st_size}"
            return version, None if version == seen else self._known()
        except FileNotFoundError:
            return "", None if seen == "" else {}
        except OSError as exc:
            raise unavailable() from exc

    async def put(self, name: str, value: bytes, *, new: bool = False) -> bool:
        def step() -> bool:
            known = self._known()
            if new and name in known:
                return False
            self._save(self._entries, {**known, name: value})
            return True

        return await alone(self._lock, step)

    async def remove(self, name: str) -> bool:
        def step() -> bool:
            known = self._known()
            if known.pop(name, None) is None:
                return False
            self._save(self._entries, known)
            return True

        return await alone(self._lock, step)

    async def strikes(self, address: str) -> Strikes:
        return await alone(self._lock, lambda: self._of(self._struck(), address))

    async def strike(self, address: str, seconds: float) -> Strikes:
        def step() -> Strikes:
            struck = self._struck()
            before = self._of(struck, address)
            struck[address] = before.count + 1, self._clock() + seconds
            self._save(self._strikes, dict(sorted(struck.items(), key=lambda found: found[1][1])[-_MOST:]))
            return Strikes(before.count + 1, seconds)

        return await alone(self._lock, step)

    async def forgive(self, address: str) -> None:
        def step() -> None:
            struck = self._struck()
            if struck.pop(address, None):
                self._save(self._strikes, struck)

        await alone(self._lock, step)

    async def close(self) -> None:
        """Nothing is open."""

    # ------------------------------------------------------------ under the lock

    def _known(self) -> Entries:
        known: Entries = _read(self._entries, Entries)
        return known

    def _struck(self) -> dict[str, tuple[int, float]]:
        now = self._clock()
        found = _read(self._strikes, dict[str, tuple[int, float]])
        return {address: struck for address, struck in found.items() if struck[1] > now}

    def _of(self, struck: dict[str, tuple[int, float]], address: str) -> Strikes:
        count, until = struck.get(address, (0, 0.0))
        return Strikes(count, until - self._clock()) if count else Strikes()

    @staticmethod
    def _save(path: Path, value: object) -> None:
        replace(path, msgspec.json.encode(value), synced=True)


def _read(path: Path, kind: Any) -> Any:  # noqa: ANN401 - a type, and a value of it
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as exc:
        raise StoreUnavailable(f"{path.name} beside the sessions is damaged; repair or remove it.") from exc
