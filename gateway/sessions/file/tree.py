"""The directory of the file store: who may use it, and which file is whose.

`<owner's tag>/<first character of the id's tag>/<id's tag>.<session's tag>.log`, where every tag is a
SessionKey's: an owner's sessions are in one folder, those of one id are found without opening any other file, and
no character of an owner or an id reaches the disk.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from gateway.config import ConfigError
from gateway.sessions.store import SessionKey

_PATHS: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{22}\.log")


class Tree:
    """The directory, made if need be. Raises ConfigError if it cannot be used or others may look into it."""

    def __init__(self, directory: str) -> None:
        root = Path(directory).expanduser()
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check(root)
        except (OSError, ValueError) as exc:
            raise ConfigError(
                f"sessions.file.directory: {root} cannot be used ({exc}); give a directory that this user may write to."
            ) from None
        self.root = str(root)
        self.path: Final = lru_cache(_PATHS)(self._path)
        """The file of a SessionKey."""

    def _path(self, key: SessionKey) -> str:
        owner, same = SessionKey(key.owner, "", "").tag, SessionKey("", "", key.id).tag
        return f"{self.root}/{owner}/{same[0]}/{same}.{key.tag}.log"

    def paths_of_id(self, id: str) -> list[str]:
        """The files of every session with this id."""
        tag = SessionKey("", "", id).tag
        return [
            entry.path
            for owner in _entries(self.root)
            for entry in _entries(f"{owner.path}/{tag[0]}")
            if entry.name.startswith(f"{tag}.") and _NAME.fullmatch(entry.name)
        ]

    def walk(self, owner: str | None = None) -> Iterator[os.DirEntry[str]]:
        """Every session's file, or those of one owner, in no order."""
        if owner is None:
            folders = [entry.path for entry in _entries(self.root)]
        else:
            folders = [f"{self.root}/{SessionKey(owner, '', '').tag}"]
        for folder in folders:
            for part in _entries(folder):
                yield from (entry for entry in _entries(part.path) if _NAME.fullmatch(entry.name))

    def leftovers(self) -> Iterator[str]:
        """Session files beside which a rewriting was cut off, perhaps; perhaps it still runs."""
        return self._beside(".new")

    def held(self) -> Iterator[str]:
        """Session files, perhaps gone, beside which there are reservations."""
        return self._beside(".held")

    def _beside(self, suffix: str) -> Iterator[str]:
        for folder in _entries(self.root):
            for part in _entries(folder.path):
                for entry in _entries(part.path):
                    if entry.name.endswith(f".log{suffix}"):
                        yield entry.path.removesuffix(suffix)

    def prune(self) -> None:
        """Remove folders without files."""
        for folder in _entries(self.root):
            for path in (*(part.path for part in _entries(folder.path)), folder.path):
                with suppress(OSError):
                    Path(path).rmdir()


def tag_of(path: str) -> str:
    """The session's tag in its file's name."""
    return path[-26:-4]


def make_folder(path: str) -> None:
    """The folders that lead to a session's file."""
    part = Path(path).parent
    for folder in (part.parent, part):
        folder.mkdir(mode=0o700, exist_ok=True)


def _check(root: Path) -> None:
    status = root.stat()
    if status.st_uid != os.geteuid():
        raise ConfigError(f"sessions.file.directory: {root} belongs to another user; give one of your own.")
    if status.st_mode & 0o077:
        raise ConfigError(
            f"sessions.file.directory: others may look into {root} (mode {status.st_mode & 0o777:04o}), and it holds "
            f"conversations; run `chmod 700 {root}`."
        )
    probe = root / f".probe-{os.getpid()}"
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    probe.unlink()


def _entries(path: str) -> list[os.DirEntry[str]]:
    """A folder's content, nothing if it is gone or none."""
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
