"""A limit of time for many blocks: it hits those that last, and nobody else."""

import asyncio
import time

import pytest

from gateway.sessions.deadlines import Deadlines


async def limited(deadlines: Deadlines, seconds: float) -> str:
    with deadlines.block():
        await asyncio.sleep(seconds)
    return "done"


async def test_a_block_that_lasts_is_interrupted() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await limited(Deadlines(0.05), 5)
    assert 0.04 < time.monotonic() - started < 1


async def test_only_blocks_that_last_are_interrupted() -> None:
    deadlines = Deadlines(0.1)
    many = [limited(deadlines, 5 if n % 3 == 0 else 0.01) for n in range(30)]
    answers = await asyncio.gather(*many, return_exceptions=True)
    assert [type(answer) for answer in answers] == [TimeoutError if n % 3 == 0 else str for n in range(30)]


async def test_blocks_that_begin_later_end_later() -> None:
    deadlines = Deadlines(0.1)
    first = asyncio.create_task(limited(deadlines, 5))
    await asyncio.sleep(0.06)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await limited(deadlines, 5)
    assert time.monotonic() - started > 0.09
    assert isinstance(first.exception(), TimeoutError)


async def test_the_task_goes_on_after_a_block_was_interrupted() -> None:
    deadlines = Deadlines(0.03)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await limited(deadlines, 5)
    assert await limited(deadlines, 0) == "done"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancelled_block_is_cancelled_and_not_late() -> None:
    deadlines = Deadlines(0.05)
    task = asyncio.create_task(limited(deadlines, 5))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.08)
    assert await limited(deadlines, 0.01) == "done"


async def test_a_block_within_another_limit_leaves_that_one_alone() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await limited(Deadlines(5), 5)
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await limited(Deadlines(0.02), 5)


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    deadlines = Deadlines(0.05)
    with pytest.raises(KeyError), deadlines.block():
        raise KeyError
