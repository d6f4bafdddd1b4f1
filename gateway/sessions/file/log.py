"""One append-only file of checked frames, locked while it is open.

A file is MAGIC, the version of all this, eight random bytes, then frames: kind (1 byte), length (4), CRC-32 (4),
payload; numbers are little endian. The CRC starts from the random bytes, so that no stored content can pass for a
frame. What is written together ends in a commit: a frame of kind STATE and a footer with its length again, by which
it is found from the end of the file. Bytes behind the last commit are a write that a crash cut off; they never
happened.

Version 1 has the same frames with other content (see old.py). It is read for ever, and rewritten before it is added to.
"""

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self
from zlib import crc32

from gateway.errors import StoreError

MAGIC: Final = b"gwlog\r\n"
VERSION: Final = b"\x02"
OLD: Final = b"\x01"
STATE: Final = b"s"
TURN: Final = b"t"
INDEX: Final = b"i"
FLAGS: Final = b"f"
SAID: Final = b"p"

_HEAD = MAGIC + VERSION
_START = len(_HEAD) + 8
_ABOUT = struct.Struct("<cI")
_CHECKSUM = struct.Struct("<I")
_HEADER = _ABOUT.size + _CHECKSUM.size
_FOOTER = struct.Struct("<I4s")
_END = b"\xffEOC"
_TAIL = 4096
_GAP = 16 << 10
_READ = 64 << 10


class Busy(Exception):
    """Another process holds the lock."""


class OldFormat(Exception):
    """The file is of an older version; it must be rewritten before something is added."""


class Torn(Exception):
    """The file ends in an unfinished write and is open for reading only."""


class NewerFormat(StoreError):
    """A newer version of the gateway wrote this file. It is left alone."""

    def __init__(self) -> None:
        super().__init__(
            "This session was stored by a newer version of the gateway; upgrade the gateway.", code="session_format"
        )


class Damaged(Exception):
    """The file is not what was written to it. `inode` tells it from one that took its place since."""

    def __init__(self, inode: int) -> None:
        super().__init__(inode)
        self.inode = inode


class Ref(NamedTuple):
    """Where a frame starts in its file, and the length of its payload."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The first byte behind the frame."""
        return self.offset + _HEADER + self.length


NOWHERE: Final = Ref(0, 0)


class Batch:
    """Frames that are written together. `start` is where in the file they will be, `salt` the file's."""

    def __init__(self, start: int, salt: bytes) -> None:
        self._seed = crc32(salt)
        self._parts = [_HEAD + salt] if start == 0 else []
        self.start = start
        self.end = start or _START

    def add(self, kind: bytes, payload: bytes) -> Ref:
        """One more frame."""
        ref = Ref(self.end, len(payload))
        self._parts += (_header(self._seed, kind, payload), payload)
        self.end = ref.end
        return ref

    def commit(self, state: bytes) -> bytes:
        """The bytes of all frames, with `state` as the commit that makes them count."""
        self.add(STATE, state)
        self._parts.append(_FOOTER.pack(len(state), _END))
        self.end += _FOOTER.size
        return b"".join(self._parts)

    def drain(self) -> bytes:
        """The bytes so far, which are then forgotten: for a batch too large to be held."""
        data = b"".join(self._parts)
        self._parts = []
        return data


class LogFile:
    """A file, open and locked: shared for reading, alone for writing (`write`).

    Raises Busy at once if the lock is taken, FileNotFoundError if there is no file and `create` is not given,
    Damaged, NewerFormat, and Torn (`write` drops an unfinished end instead, and `torn` tells). `state` is the newest
    commit's, None in a new file; `old`: the file is of an older version.
    """

    def __init__(self, path: str, *, write: bool = False, create: bool = False) -> None:
        self.path = path
        self.state: bytes | None = None
        self.end = 0
        self.torn = False
        self.old = False
        self._salt, self._seed = b"", 0
        self._tail, self._base = b"", 0
        self._fd, size = _open_locked(path, write=write, create=create)
        try:
            if size:
                self._read_state(size, write=write)
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self, kind: bytes, refs: Iterable[Ref]) -> list[bytes]:
        """The payloads of frames of one kind, in the order asked."""
        return [payload for part in self.parts(kind, refs) for payload in part]

    def parts(self, kind: bytes, refs: Iterable[Ref]) -> Iterator[list[bytes]]:
        """The same in lists: what is read together, neighbours up to some size."""
        for group in _neighbours(refs):
            data, start = self._bytes(group[0].offset, group[-1].end)
            found = []
            for offset, length in group:
                begin = offset - start + _HEADER
                payload = data[begin : begin + length]
                if data[offset - start : begin] != _header(self._seed, kind, payload):
                    raise self.damaged()
                found.append(payload)
            yield found

    @property
    def salt(self) -> bytes:
        """The file's random bytes: those of another file, or of what is written after `clear`, differ."""
        return self._salt

    def batch(self) -> Batch:
        """An empty batch that goes to the end of this file. Raises OldFormat."""
        if self.old:
            raise OldFormat
        if not self._salt:
            self._salt = os.urandom(8)
            self._seed = crc32(self._salt)
        return Batch(self.end, self._salt)

    def write(self, batch: Batch, state: bytes) -> None:
        """Commit a batch. Raises OSError, and then the file is as it was."""
        data = batch.commit(state)
        try:
            written = os.pwrite(self._fd, data, batch.start)
            while written < len(data):  # a full disk shows as a short write, and as an error at the next
                written += os.pwrite(self._fd, data[written:], batch.start + written)
        except BaseException:
            os.ftruncate(self._fd, batch.start)
            raise
        self.end = batch.end
        self.state = state

    def touch(self, milliseconds: int) -> None:
        """Set the time of the last change, which listings are sorted by."""
        os.utime(self._fd, ns=(milliseconds * 1_000_000,) * 2)

    def damaged(self) -> Damaged:
        """The error to raise by whoever finds that this file makes no sense."""
        return Damaged(os.fstat(self._fd).st_ino)

    def clear(self) -> None:
        """Forget everything; the lock stays."""
        os.ftruncate(self._fd, 0)
        self.end, self.state, self.old = 0, None, False
        self._salt, self._tail = b"", b""

    def _bytes(self, start: int, end: int) -> tuple[bytes, int]:
        """Bytes of the file that contain `start` to `end`, and where they begin."""
        if self._base <= start and end <= self._base + len(self._tail):
            return self._tail, self._base
        return os.pread(self._fd, end - start, start), start

    # ------------------------------------------------------------ the newest commit

    def _read_state(self, size: int, *, write: bool) -> None:
        start = os.pread(self._fd, _START, 0)
        version = start[len(MAGIC) : len(_HEAD)]
        if not MAGIC.startswith(start[: len(MAGIC)]) or b"" < version < OLD:
            raise self.damaged()
        if version > VERSION:
            raise NewerFormat
        self.old = version == OLD
        self._salt = start[len(_HEAD) :]
        self._seed = crc32(self._salt)
        self._base = max(0, size - _TAIL)
        self._tail = os.pread(self._fd, _TAIL, self._base)
        self.state, self.end = self._last(), size
        if self.state is None:
            self._recover(os.pread(self._fd, size, 0), write=write)

    def _last(self) -> bytes | None:
        if len(self._tail) < _HEADER + _FOOTER.size:
            return None
        length, mark = _FOOTER.unpack_from(self._tail, len(self._tail) - _FOOTER.size)
        if mark != _END:
            return None
        end = self._base + len(self._tail) - _FOOTER.size
        place = end - length - _HEADER
        if place < _START:
            return None
        data, start = self._bytes(place, end)
        found = _frame(data, place - start, self._seed)
        return found[1] if found is not None and found[0] == STATE else None

    def _recover(self, data: bytes, *, write: bool) -> None:
        self._tail = b""
        self.end, self.state, reached = _replay(data, self._seed)
        if _commit_after(data, reached, self._seed):
            raise self.damaged()
        if not write:
            raise Torn
        self.torn = True
        if self.state is None:
            self.clear()
        else:
            os.ftruncate(self._fd, self.end)


def set_aside(path: str, inode: int, to: str) -> bool:
    """Rename a damaged file, unless it is another one by now. Raises Busy and OSError."""
    fd, _ = _open_locked(path, write=True, create=False)
    try:
        found = os.fstat(fd).st_ino == inode
        if found:
            Path(path).rename(to)
        return found
    finally:
        os.close(fd)


def _open_locked(path: str, *, write: bool, create: bool) -> tuple[int, int]:
    """A file and its size."""
    flags = (os.O_RDWR if write else os.O_RDONLY) | (os.O_CREAT if create else 0) | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            status = os.fstat(fd)
            if status.st_nlink:
                return fd, status.st_size
        except BlockingIOError:
            os.close(fd)
            raise Busy from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # deleted or rewritten between open and lock: the path has another file now


def _header(seed: int, kind: bytes, payload: bytes) -> bytes:
    """What stands before a payload."""
    about = _ABOUT.pack(kind, len(payload))
    return about + _CHECKSUM.pack(crc32(payload, crc32(about, seed)))


def _frame(data: bytes, place: int, seed: int) -> tuple[bytes, bytes] | None:
    """Kind and payload of the frame at `place`, None if there is none or not all of it."""
    begin = place + _HEADER
    if begin > len(data):
        return None
    kind, length = _ABOUT.unpack_from(data, place)
    payload = data[begin : begin + length]
    return (kind, payload) if data[place:begin] == _header(seed, kind, payload) else None


def _replay(data: bytes, seed: int) -> tuple[int, bytes | None, int]:
    """The end of the last commit and its state; how far the frames are whole."""
    place, end, state = _START, 0, None
    while (frame := _frame(data, place, seed)) is not None:
        kind, payload = frame
        place += _HEADER + len(payload)
        if kind == STATE:
            if data[place : place + _FOOTER.size] != _FOOTER.pack(len(payload), _END):
                break
            place += _FOOTER.size
            end, state = place, payload
    return end, state, place


def _commit_after(data: bytes, place: int, seed: int) -> bool:
    """Whether something was committed behind `place`, which a torn end cannot have."""
    mark = data.find(_END, place)
    while mark >= 0:
        footer = mark + len(_END) - _FOOTER.size
        (length, _) = _FOOTER.unpack_from(data, footer)
        begin = footer - length - _HEADER
        if begin >= _START and (frame := _frame(data[:footer], begin, seed)) is not None and frame[0] == STATE:
            return True
        mark = data.find(_END, mark + 1)
    return False


def _neighbours(refs: Iterable[Ref]) -> list[list[Ref]]:
    """Frames in the order given, those together that are so close behind each other that one read is cheaper."""
    groups: list[list[Ref]] = []
    start, end = 0, -_GAP
    for ref in refs:
        offset, length = ref
        if 0 <= offset - end < _GAP and offset - start < _READ:
            groups[-1].append(ref)
        else:
            groups.append([ref])
            start = offset
        end = offset + _HEADER + length
    return groups
