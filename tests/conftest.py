"""Fixtures that several folders share."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from gateway.sessions.file.store import FileStore
from gateway.sessions.store import SessionStore
from tests.harness import Harness, gateway


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SessionStore]:
    """A session store for a gateway inside the test."""
    store = FileStore(str(tmp_path / "sessions"))
    yield store
    await store.close()


@pytest.fixture
def start(store: SessionStore) -> Callable[..., AbstractAsyncContextManager[Harness]]:
    """Starts a gateway over the store: `async with start(chat=script) as gw`."""
    return partial(gateway, store)
