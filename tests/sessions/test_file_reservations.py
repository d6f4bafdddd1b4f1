"""The file beside a session's file: damaged, cut off, left behind."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.sessions.file.store import FileStore
from gateway.sessions.store import Reservation
from tests.contract.making import KEY, first, texts

MINE = Reservation(holder="mine", lease=True, retry="key", body="body")
THEIRS = replace(MINE, holder="theirs")


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def files(tmp_path: Path, clock: Clock) -> FileStore:
    return FileStore(str(tmp_path / "kept"), clock=clock)


def beside(directory: Path) -> list[Path]:
    return list(directory.rglob("*.held"))


@pytest.mark.parametrize("damage", [b"", b"x", b"\xff" * 8, b"\0" * 400, b"garbage" * 100])
async def test_a_damaged_file_holds_nothing_and_nobody_up(files: FileStore, tmp_path: Path, damage: bytes) -> None:
    await files.reserve(KEY, MINE)
    (path,) = beside(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(damage)
    assert (await files.reserve(KEY, THEIRS)).outcome == "granted"
    assert (await files.reserve(KEY, MINE)).outcome == "running"


async def test_a_file_that_was_cut_off_at_any_byte_holds_nothing(files: FileStore, tmp_path: Path) -> None:
    await files.reserve(KEY, MINE)
    (path,) = beside(tmp_path)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert (await files.reserve(KEY, THEIRS)).outcome == "granted"
        path.write_bytes(whole)


async def test_a_crash_between_the_turn_and_its_reservation_changes_nothing(files: FileStore, tmp_path: Path) -> None:
    await files.reserve(KEY, MINE)
    (path,) = beside(tmp_path)
    before = path.read_bytes()
    await files.append(KEY, first("once", token="mine", reserved=MINE))
    path.write_bytes(before)
    found = await files.reserve(KEY, THEIRS)
    assert (found.outcome, found.number) == ("stored", 1)
    assert (await files.reserve(KEY, Reservation(holder="next", lease=True))).outcome == "granted"
    assert texts(await files.load(KEY, turns=9, marks=True, keep=0)) == ["once"]


async def test_cleanup_removes_what_counts_no_more(files: FileStore, tmp_path: Path, clock: Clock) -> None:
    await files.reserve(KEY, MINE)
    await files.cleanup()
    assert beside(tmp_path)
    clock.now += 3601
    await files.cleanup()
    assert list((tmp_path / "kept").rglob("*")) == []


async def test_a_delete_takes_it_along(files: FileStore, tmp_path: Path) -> None:
    await files.reserve(KEY, MINE)
    await files.append(KEY, first(token="mine", reserved=MINE))
    await files.delete(KEY)
    assert beside(tmp_path) == []
