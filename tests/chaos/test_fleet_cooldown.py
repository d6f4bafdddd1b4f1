"""What one worker learns of a rate limit all know within a second: the short version of fleet_cooldown.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.chaos import fleet_cooldown as measured


@pytest.fixture(scope="module")
def redis_server() -> Iterator[servers.Process]:
    with servers.one() as process:
        yield process


@pytest.mark.parametrize("through", ["redis", "file"])
async def test_a_limited_credential_is_left_alone_by_all_workers(
    through: str, redis_server: servers.Process, tmp_path: Path
) -> None:
    if through == "redis":
        outcome = await measured.shared(redis_server.url, seconds=3.5, rate=30)
    else:
        outcome = await measured.beside(str(tmp_path), seconds=3.5, rate=30)
    assert outcome.failed == 0
    assert 1 <= outcome.early <= measured.WORKERS
    assert outcome.quiet == 0
    assert outcome.probes <= outcome.periods


async def test_a_naive_fleet_goes_on_asking() -> None:
    outcome = await measured.naive(seconds=2.5, rate=30)
    assert outcome.quiet > 5
