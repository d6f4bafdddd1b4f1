"""Tells of exchanges that have ended: their records are handed on together, some at a time, off their way."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.metrics import Record

TOGETHER = 0.02
"""Seconds that a record may wait for others."""

Observer = Callable[[Sequence[Record]], None]


class Journal:
    """Takes the record of each exchange, and gives all observers those of a moment at once."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self._records: list[Record] = []

    def add(self, record: Record) -> None:
        """An exchange has ended. Needs a running event loop."""
        if not self._records:
            asyncio.get_running_loop().call_later(TOGETHER, self.flush)
        self._records.append(record)

    async def close(self) -> None:
        """The last ones."""
        self.flush()

    def flush(self) -> None:
        """Hand on what there is: before somebody reads, and at the end."""
        if self._records:
            records, self._records = self._records, []
            for observe in self._observers:
                observe(records)
