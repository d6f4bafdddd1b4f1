"""What runs during a measurement: the mock, one contestant at a time, a Redis if it needs one."""

import contextlib
import http.client
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from tests.bench.contestants import CONTESTANTS, Contestant
from tests.bench.driver import Request
from tests.bench.loads import LOADS, Load
from tests.bench.processes import MEASURED, free_port, running, until
from tests.servers import one

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Place:
    """A contestant that runs."""

    contestant: Contestant
    pid: int
    port: int
    provider: int


def answered(request: Request, load: Load) -> bool:
    """Whether there is a right answer to be had: of the mock's, with the events and the history that were asked for."""
    client = http.client.HTTPConnection("127.0.0.1", request.port, timeout=10)
    try:
        client.connect()
        client.sock.sendall(request.encode())
        response = http.client.HTTPResponse(client.sock)
        response.begin()
        body, history = response.read(), response.headers.get("x-session-history", "")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()
    events = body.count(b"data: ")
    right = response.status == http.HTTPStatus.OK and b"quick" in body
    right &= load.events * 0.8 <= events <= load.events * 1.3 + 2
    return right and (not load.turns or f"injected={2 * load.turns}," in history)


@contextlib.contextmanager
def mock() -> Iterator[int]:
    """The provider, on the load's core; its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with running([sys.executable, str(HERE / "provider.py"), "--port", str(port)], log, {}) as process:
            request = LOADS[0].request(CONTESTANTS[0], port, port)
            until(lambda: answered(request, LOADS[0]), process, log)
            yield port


@contextlib.contextmanager
def launched(
    contestant: Contestant, provider: int, store: str, cores: AbstractSet[int] = frozenset({MEASURED})
) -> Iterator[tuple[Place, float]]:
    """A contestant on its core, and the seconds from its start to its first answer."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kept, _, first = (store or "file").partition("-")
        server = stack.enter_context(one()).port if kept == "redis" else 0
        port, log = free_port(), directory / "log"
        known = {"port": port, "provider": provider, "redis": server, "store": kept, "spare": free_port()}
        known["cache"] = "0" if first else "16MiB"
        command, environment = contestant.start(directory, **known)
        began = time.perf_counter()
        process = stack.enter_context(running(command, log, environment, cores))
        if contestant.announces:
            until(lambda: announced(log), process, log)
            port = announced(log)
        request = LOADS[0].request(contestant, port, provider)
        until(lambda: answered(request, LOADS[0]), process, log)
        yield Place(contestant, process.pid, port, provider), time.perf_counter() - began


def announced(log: Path) -> int:
    """The port of the URL that a log says it is ready at."""
    found = re.search(r"ready at http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace"))
    return int(found[1]) if found else 0
