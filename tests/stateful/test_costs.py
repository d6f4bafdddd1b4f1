"""A chain costs the same at its end as at its beginning, and its storage grows by what was said."""

from pathlib import Path

from msgspec.structs import replace

from gateway.config import Duration, RedisSessions
from gateway.conversation import Origin
from gateway.sessions import chains
from gateway.sessions.file.store import FileStore
from gateway.sessions.redis.connect import connect
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.store import Append, Limits, Mark, Responded, SessionKey, SessionStore, Turn
from tests.contract.making import said
from tests.servers import Process, one

LENGTH = 1000
WINDOW = 50
LIMITS = Limits(ttl=1e5, max_age=1e6, max_turns=10 * LENGTH, max_bytes=64 << 20)


def append(token: str) -> Append:
    turn = Turn(
        question=said("q" * 100),
        reply=said("a" * 100, origin=Origin("main", "gpt-5")),
        response=Responded(token, b'{"model":"gpt"}'),
    )
    return Append(token=token, turn=turn, mark=Mark(b"q", b"a"), limits=LIMITS)


async def extend(store: SessionStore, number: int, previous: str) -> str:
    """One more response at the end of a chain, as a worker stores it that has never seen the chain."""
    token = f"{number:020x}"
    branch = SessionKey("acme", "", chains.chain_id(token))
    given = append(token)
    if not previous:
        await store.append(branch, given)
        return f"resp_{chains.Name(token, 1, branch.id)}"
    path = await chains.follow(store, (branch, previous), turns=WINDOW, keep=600, shared=600)
    assert path is not None
    assert len(path.session.turns) == min(WINDOW, number - 1)
    place, head = path.place, path.session.head
    assert place.key is not None
    given = replace(given, generation=head.generation, revision=head.revision)
    await store.append(place.key, chains.placed(given, place))
    return f"resp_{chains.Name(token, place.number, place.key.id)}"


def work_of(server: Process) -> list[int]:
    """Commands, bytes in and bytes out, by the server's own count."""
    stats = server.info("stats")
    return [int(stats[f"total_{name}"]) for name in ("commands_processed", "net_input_bytes", "net_output_bytes")]


async def test_the_thousandth_response_costs_what_one_with_a_full_window_costs() -> None:
    with one() as server:
        given = RedisSessions(url=server.url, timeout=Duration(5), connect_timeout=Duration(5))
        store = RedisStore(connect(given), prefix="t:", timeout=5.0)
        previous, costs, sizes = "", {}, {}
        measured = (10, WINDOW + 10, LENGTH)
        for number in range(1, LENGTH + 1):
            before = work_of(server) if number in measured else []
            previous = await extend(store, number, previous)
            if number in measured:
                costs[number] = [after - start for after, start in zip(work_of(server), before, strict=True)]
            if number in (LENGTH // 2, LENGTH):
                name = chains.read_name(previous)
                assert name is not None
                tag = SessionKey("acme", "", name.session).tag
                sizes[number] = int(server.ask("MEMORY", "USAGE", f"t:{{{tag}}}:s", "SAMPLES", "0"))
        await store.close()
    for at_first, in_the_end in zip(costs[WINDOW + 10], costs[LENGTH], strict=True):
        assert in_the_end <= at_first * 1.1
    assert costs[LENGTH][0] == costs[10][0]
    assert sizes[LENGTH] < sizes[LENGTH // 2] * 2.2


async def test_a_chain_in_files_grows_by_what_was_said(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    previous, sizes = "", {}
    for number in range(1, LENGTH + 1):
        previous = await extend(store, number, previous)
        if number % 100 == 0:
            sizes[number] = bytes_in(tmp_path)
    await store.close()
    beside = 1024  # what a commit writes beside a turn, at any length
    assert all(size < number * (400 + beside) for number, size in sizes.items())


def bytes_in(folder: Path) -> int:
    """Everything below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
