"""One gateway process with one provider behind it, for all SDK tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.sdks import CONFIG, script
from tests.processes import provider, running
from tests.scripted import Scripted


@dataclass
class World:
    """The gateway's URL, and what its provider saw."""

    url: str
    provider: Scripted


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway process."""
    folder: Path = tmp_path_factory.mktemp("sdks")
    with (
        provider(script) as (scripted, url),
        running(CONFIG.format(folder=folder / "sessions", url=url)) as gateway,
    ):
        yield World(gateway.url, scripted)
