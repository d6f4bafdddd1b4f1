"""Keys that are not in the configuration: read from a file or asked of a command, again and again."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gateway.config import Config, Credential
from gateway.routing.table import credentials_of

log = logging.getLogger("gateway.credentials")

Seat = tuple[str, str]
"""A provider and one of its credentials."""

COMMAND_TIME = 30.0
"""Seconds that a command may take."""
AGAIN = 5.0
"""Seconds until a key that could not be had is asked for again."""
SOONEST = 1.0
"""Seconds between two times that a key is asked for, if the first one is refused."""
LARGEST = 64 * 1024


class Unobtainable(Exception):
    """There is no key to be had; the message says why, without secrets."""


class Credentials:
    """The newest key of each credential that has a file or a command.

    `conceal` is told each key, `renewed` each credential that has another than before. A key that cannot be had any
    more is used on: the provider knows best whether it is still good.
    """

    def __init__(self, conceal: Callable[[list[str]], None], renewed: Callable[[Seat], None]) -> None:
        self._conceal = conceal
        self._renewed = renewed
        self._asked_for: dict[Seat, asyncio.Event] = defaultdict(asyncio.Event)
        self._keys: dict[Seat, str] = {}
        self._followed: dict[Seat, tuple[Credential, asyncio.Task[None]]] = {}

    def key(self, seat: Seat) -> str:
        """The key, "" as long as there is none."""
        return self._keys.get(seat, "")

    def refused(self, seat: Seat) -> None:
        """The provider refused the key: perhaps there is another by now."""
        self._asked_for[seat].set()

    async def follow(self, config: Config) -> None:
        """Keep the keys of this configuration fresh, and no others. Each has been asked for once on return."""
        wanted = {
            (name, id): credential
            for name, provider in config.providers.items()
            for id, credential in credentials_of(name, provider)
            if provider.enabled and (credential.file or credential.command)
        }
        for seat in [seat for seat, (known, _) in self._followed.items() if wanted.get(seat) != known]:
            self._followed.pop(seat)[1].cancel()
        new = [seat for seat in wanted if seat not in self._followed]
        await asyncio.gather(*(self._fetch(seat, wanted[seat]) for seat in new))
        for seat in new:
            task = asyncio.create_task(self._keep_fresh(seat, wanted[seat]))
            self._followed[seat] = wanted[seat], task

    async def close(self) -> None:
        """Ask no more."""
        tasks = [task for _, task in self._followed.values()]
        self._followed.clear()
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _keep_fresh(self, seat: Seat, credential: Credential) -> None:
        while True:
            seconds = credential.refresh if seat in self._keys else min(AGAIN, credential.refresh)
            await asyncio.sleep(min(SOONEST, seconds))
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds - min(SOONEST, seconds)):
                    await self._asked_for[seat].wait()
            self._asked_for[seat].clear()
            await self._fetch(seat, credential)

    async def _fetch(self, seat: Seat, credential: Credential) -> None:
        try:
            key = await (_from_file(credential.file) if credential.file else _from_command(credential.command))
        except Unobtainable as error:
            log.warning("no new key", extra={"provider": seat[0], "credential": seat[1], "why": str(error)})
            return
        before = self._keys.get(seat)
        if before != key:
            self._conceal([key])
            self._keys[seat] = key
            if before is not None:
                self._renewed(seat)


async def _from_file(name: str) -> str:
    try:
        return _one_line(await asyncio.to_thread(_read, name))
    except OSError as error:
        raise Unobtainable(f"{name}: {error.strerror or 'it cannot be read'}") from None


def _read(name: str) -> bytes:
    return Path(name).expanduser().read_bytes()


async def _from_command(command: tuple[str, ...]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise Unobtainable(f"{command[0]}: {error.strerror or 'it cannot be started'}") from None
    try:
        async with asyncio.timeout(COMMAND_TIME):
            said, _ = await process.communicate()
    except TimeoutError:
        raise Unobtainable(f"{command[0]}: it took longer than {COMMAND_TIME:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise Unobtainable(f"{command[0]}: exit code {process.returncode}")
    return _one_line(said)


def _one_line(said: bytes) -> str:
    """A key is one word of printable ASCII, since it becomes a header."""
    key = said.strip()
    if not key or len(key) > LARGEST or not all(0x20 < byte < 0x7F for byte in key):  # noqa: PLR2004 - ASCII
        raise Unobtainable("a key is one word of printable ASCII")
    return key.decode()
