"""A small file that workers share: changed whole, read when it has changed."""

import asyncio
from pathlib import Path

import pytest

from gateway.fleet.shared_file import SharedFile

Numbers = list[int]


def shared(path: Path) -> SharedFile[Numbers]:
    return SharedFile[Numbers](path, Numbers, list)


def with_one_more(numbers: Numbers) -> tuple[Numbers, int]:
    return [*numbers, len(numbers)], len(numbers)


async def test_steps_follow_each_other_whoever_takes_them(tmp_path: Path) -> None:
    workers = [shared(tmp_path / "s" / "n.json") for _ in range(5)]
    taken = await asyncio.gather(*(worker.change(with_one_more) for worker in workers for _ in range(5)))
    assert sorted(taken) == list(range(25))
    assert [worker.read() for worker in workers] == [list(range(25))] * 5
    assert (tmp_path / "s" / "n.json").stat().st_mode & 0o777 == 0o600


async def test_a_step_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    file = shared(tmp_path / "n.json")
    assert await file.change(lambda numbers: (numbers, len(numbers))) == 0
    assert not (tmp_path / "n.json").exists()


async def test_a_damaged_file_begins_anew_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = shared(tmp_path / "n.json")
    (tmp_path / "n.json").write_text("[1, 2")
    assert file.read() == []
    assert await file.change(with_one_more) == 0
    assert file.read() == [0]
    assert "n.json is damaged" in caplog.text
