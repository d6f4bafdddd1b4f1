"""Reservations of a session in files: who runs, and which retry keys were used (rules S9 and S10).

They are in a small file of their own beside the session's, and everything here runs under the lock of the session's
file. A reservation whose turn is stored is over, whatever this file says: so a crash between the two changes nothing.
"""

import os
import struct
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from gateway.errors import SessionBusy
from gateway.sessions.file.session import SessionFile
from gateway.sessions.store import Append, Reservation, Reserved

SUFFIX: Final = ".held"

_MOST: Final = 4096
"""Retry keys that are remembered of one session; beyond that the oldest go."""


class Key(Struct, array_like=True):
    """A retry key: its holder and body, until when its turn runs, until when it is kept (Unix milliseconds).

    `revision` is the session's when it was reserved.
    """

    holder: str
    body: str
    until: int
    kept: int
    revision: int


class Held(Struct, array_like=True):
    """The lease's holder, until when, the session's revision then; retry keys, oldest first."""

    holder: str = ""
    until: int = 0
    revision: int = 0
    keys: dict[str, Key] = {}


_HEADER = struct.Struct("<II")
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Held)


def reserve(file: SessionFile, wish: Reservation) -> Reserved:
    """See SessionStore.reserve."""
    held, revision = _read(file), _revision(file)
    until = file.now + int(wish.seconds * 1000)
    if wish.retry:
        known = held.keys.pop(wish.retry, None)
        if known is not None and known.holder != wish.holder and known.kept > file.now:
            number = file.made_by(known.holder, known.revision)
            if number is not None or known.until > file.now:
                if known.body != wish.body:
                    return Reserved("other")
                return Reserved("running") if number is None else Reserved("stored", number)
        held.keys[wish.retry] = Key(wish.holder, wish.body, until, file.now + int(wish.kept * 1000), revision)
    if wish.lease:
        if _taken(file, held, wish.holder):
            return Reserved("busy")
        held.holder, held.until, held.revision = wish.holder, until, revision
    _write(file, held)
    return Reserved("granted")


def renew(file: SessionFile, wish: Reservation) -> bool:
    """See SessionStore.renew."""
    held, mine = _read(file), True
    until = file.now + int(wish.seconds * 1000)
    if wish.lease:
        if held.holder == wish.holder and held.until > file.now:
            held.until = until
        else:
            mine = False
    if wish.retry:
        key = held.keys.get(wish.retry)
        if key is not None and key.holder == wish.holder and key.until > file.now:
            key.until, key.kept = until, file.now + int(wish.kept * 1000)
        else:
            mine = False
    _write(file, held)
    return mine


def release(file: SessionFile, holder: str, wish: Reservation, *, stored: bool = False) -> None:
    """See SessionStore.release. With `stored` the retry key leads to the holder's turn from now on."""
    held = _read(file)
    if held.holder == holder:
        held.holder, held.until = "", 0
    key = held.keys.get(wish.retry)
    if key is not None and key.holder == holder:
        if stored:
            key.until, key.kept = 0, file.now + int(wish.kept * 1000)
        else:
            del held.keys[wish.retry]
    _write(file, held)


def fence(file: SessionFile, append: Append) -> None:
    """Raises SessionBusy if the turn's reservation passed to another, or ran out and something was stored since."""
    wish = append.reserved
    if wish is None or file.find(append.token, append.revision) is not None:
        return
    held = _read(file)
    lost = False
    if wish.lease and not (held.holder == append.token and held.until > file.now):
        lost = _taken(file, held, append.token) or append.revision != _revision(file)
    if wish.retry:
        key = held.keys.get(wish.retry)
        if key is not None and key.holder != append.token:
            lost = lost or key.until > file.now or file.made_by(key.holder, key.revision) is not None
    if lost:
        raise SessionBusy("The turn's reservation ran out and another turn came between.", code="session_busy")


def forget(file: SessionFile) -> None:
    """The session is deleted, and its reservations with it."""
    Path(file.log.path + SUFFIX).unlink(missing_ok=True)


def tidy(file: SessionFile) -> None:
    """Drop what does not count any more, and the file if nothing is left."""
    _write(file, _read(file))


def _taken(file: SessionFile, held: Held, holder: str) -> bool:
    """Whether another has the lease: not for longer than until its turn is stored."""
    running = held.holder not in ("", holder) and held.until > file.now
    return running and file.find(held.holder, held.revision) is None


def _revision(file: SessionFile) -> int:
    return file.head.revision if file.head is not None else 0


def _read(file: SessionFile) -> Held:
    """What is held. A write that was cut off leaves nothing: a lost reservation is one that ended too soon."""
    try:
        data = Path(file.log.path + SUFFIX).read_bytes()
    except FileNotFoundError:
        return Held()
    if len(data) < _HEADER.size:
        return Held()
    length, checksum = _HEADER.unpack_from(data)
    payload = data[_HEADER.size : _HEADER.size + length]
    try:
        return _DECODER.decode(payload) if crc32(payload) == checksum else Held()
    except msgspec.MsgspecError:
        return Held()


def _write(file: SessionFile, held: Held) -> None:
    path = file.log.path + SUFFIX
    held.keys = {name: key for name, key in list(held.keys.items())[-_MOST:] if key.kept > file.now}
    if held.until <= file.now and not held.keys:
        Path(path).unlink(missing_ok=True)
        return
    payload = _ENCODER.encode(held)
    # In place: to rename or to truncate a file makes some file systems write it out at once, which takes milliseconds.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(fd, _HEADER.pack(len(payload), crc32(payload)) + payload, 0)
    finally:
        os.close(fd)
