"""What client keys have spent, in a file beside the sessions, for the workers of one machine."""

from pathlib import Path

from gateway.fleet.budget import Amounts, Periods, added
from gateway.fleet.shared_file import SharedFile


class FileSpending:
    """Sums in `directory`, which is made when somebody has spent. Raises StoreUnavailable."""

    def __init__(self, directory: Path) -> None:
        self._file = SharedFile[Amounts](directory / "spending.json", Amounts, dict)

    async def exchange(self, more: Amounts, now: Periods) -> Amounts:
        """Tell what was spent, and hear what all have spent, of this day and month."""
        if not more:
            return self._file.read()

        def step(known: Amounts) -> tuple[Amounts, Amounts]:
            sums = added({name: known[name] for name in now.names if name in known}, more)
            return sums, sums

        return await self._file.change(step)
