"""Where decisions and failures to sign in are kept, for all workers."""

from typing import Protocol

from msgspec import Struct

Entries = dict[str, bytes]


class Strikes(Struct, frozen=True):
    """Failures to sign in from one address: how many, and in how many seconds they are forgotten."""

    count: int = 0
    left: float = 0.0


class Ledger(Protocol):
    """A few entries by name, and counts of failures; each method is one atomic step.

    Raises StoreUnavailable if it cannot be reached; it is tried again by the next call.
    """

    async def read(self, seen: str) -> tuple[str, Entries | None]:
        """The version, and all entries, or None for them if `seen` is still the version."""

    async def put(self, name: str, value: bytes, *, new: bool = False) -> bool:
        """Set an entry; with `new` only if there is none of this name: whether it was set."""

    async def remove(self, name: str) -> bool:
        """Remove an entry; whether there was one."""

    async def strikes(self, address: str) -> Strikes:
        """The failures of an address."""

    async def strike(self, address: str, seconds: float) -> Strikes:
        """One failure more; all of them are remembered for so many seconds from now."""

    async def forgive(self, address: str) -> None:
        """Forget the failures of an address."""

    async def close(self) -> None:
        """Let go of connections."""
