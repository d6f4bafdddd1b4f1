"""Feature B4: what is said is stored compressed, encrypted, or both; keys rotate; nothing readable is left."""

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec import Raw
from msgspec.structs import replace

from gateway.config import Config, ConfigError, Encryption, EncryptionKey, parse
from gateway.errors import StoreError
from gateway.sessions.file.store import FileStore
from gateway.sessions.redis.store import RedisStore
from gateway.sessions.sealed import SealedStore
from gateway.sessions.sealing import MAGIC, Seal
from gateway.sessions.seen import Seen as Memory
from gateway.sessions.store import Patch, SessionKey
from tests import servers
from tests.contract.making import KEY, first, loaded, said, turn
from tests.harness import CONFIG, Harness, gateway
from tests.scripted import Say, Seen

Start = Callable[..., AbstractAsyncContextManager[Harness]]

OLD, NEW = EncryptionKey(id="2025", key="ab" * 32), EncryptionKey(id="2026", key="cd" * 32)
MESSAGES = (b'{"role":"user","content":"the secret word is walrus"}', b"", bytes(range(256)))


def seal(*keys: EncryptionKey, compress: bool = False) -> Seal:
    return Seal(Encryption(keys=keys), compress=compress)


def config(*keys: EncryptionKey, compression: str = "none") -> str:
    listed = ", ".join(f"{{id: '{key.id}', key: '{key.key}'}}" for key in keys)
    return CONFIG + f"sessions: {{compression: {compression}, encryption: {{keys: [{listed}]}}}}\n"


# ---------------------------------------------------------------- the bytes


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("keys", [(), (OLD,), (NEW, OLD)])
@pytest.mark.parametrize("messages", [(), (b"",), MESSAGES, (b"x" * 100_000,)])
def test_what_is_sealed_opens_again(keys: Any, messages: tuple[bytes, ...], *, compress: bool) -> None:
    one = seal(*keys, compress=compress)
    sealed = one.seal(messages, "here")
    assert len(sealed) == 1
    assert one.open(sealed, "here") == messages


def test_nothing_that_was_said_can_be_read() -> None:
    (sealed,) = seal(OLD).seal(MESSAGES, "here")
    assert b"walrus" not in sealed
    assert b"role" not in sealed


def test_the_same_is_never_sealed_the_same_way_twice() -> None:
    one = seal(OLD)
    assert one.seal(MESSAGES, "here") != one.seal(MESSAGES, "here")


def test_compressed_content_is_smaller_and_small_content_is_left() -> None:
    long = (b'{"role":"user","content":"' + b"again and again " * 500 + b'"}',)
    for keys in ((), (OLD,)):
        assert len(seal(*keys, compress=True).seal(long, "here")[0]) < len(long[0]) // 10
        assert len(seal(*keys, compress=True).seal((b"x",), "here")[0]) < 50


def test_any_of_the_keys_opens_and_the_first_seals() -> None:
    before = seal(OLD).seal(MESSAGES, "here")
    rotated = seal(NEW, OLD)
    assert rotated.open(before, "here") == MESSAGES
    assert seal(NEW).open(rotated.seal(MESSAGES, "here"), "here") == MESSAGES


def test_a_missing_key_is_named() -> None:
    sealed = seal(OLD).seal(MESSAGES, "here")
    for other in (seal(NEW), seal()):
        with pytest.raises(StoreError, match="'2025'") as caught:
            other.open(sealed, "here")
        assert caught.value.code == "session_key_missing"


def test_another_key_of_the_same_name_opens_nothing() -> None:
    sealed = seal(OLD).seal(MESSAGES, "here")
    with pytest.raises(StoreError, match="cannot be decrypted"):
        seal(EncryptionKey(id=OLD.id, key=NEW.key)).open(sealed, "here")


def test_what_was_moved_elsewhere_does_not_open() -> None:
    sealed = seal(OLD).seal(MESSAGES, "here")
    with pytest.raises(StoreError, match="moved"):
        seal(OLD).open(sealed, "there")


def test_no_byte_can_be_changed() -> None:
    one = seal(OLD, compress=True)
    (sealed,) = one.seal((b"walrus " * 100,), "here")
    for place in range(len(MAGIC), len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises(StoreError):
            one.open((changed,), "here")
    for end in range(len(MAGIC), len(sealed)):
        with pytest.raises(StoreError):
            one.open((sealed[:end],), "here")


def test_what_never_was_sealed_is_as_it_is() -> None:
    assert seal(OLD, compress=True).open(MESSAGES, "here") == MESSAGES
    assert seal().open((b"{}",), "here") == (b"{}",)


def test_a_newer_version_is_refused() -> None:
    with pytest.raises(StoreError, match="newer version") as caught:
        seal(OLD).open((MAGIC[:-1] + b"\x02" + b"\0" * 50,), "here")
    assert caught.value.code == "session_format"


def test_keys_for_digests_are_others_than_those_for_content() -> None:
    one = seal(NEW, OLD)
    assert len({NEW.secret, OLD.secret, *one.digest_keys}) == 4


# ---------------------------------------------------------------- the configuration


@pytest.mark.parametrize("key", ["ab" * 32, "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="])
def test_a_key_is_hexadecimal_or_base64(key: str) -> None:
    assert EncryptionKey(id="k", key=key).secret == b"\xab" * 32


@pytest.mark.parametrize("key", ["", "walrus", "ab" * 31, "ab" * 33, "q6urq6s=", "\N{GRINNING FACE}"])
def test_a_key_of_another_length_is_refused_by_name(key: str) -> None:
    with pytest.raises(ConfigError, match=r"sessions\.encryption\.keys\[0\]\.key: 32 bytes"):
        parse(config(EncryptionKey(id="k", key=key)), {})


def test_two_keys_of_one_id_are_refused() -> None:
    with pytest.raises(ConfigError, match="'2025' is there twice"):
        parse(config(OLD, OLD), {})


def test_keys_come_from_the_environment() -> None:
    text = CONFIG + "sessions: {encryption: {keys: [{id: k, key: '${SESSION_KEY}'}]}}\n"
    read: Config = parse(text, {"SESSION_KEY": "ab" * 32})
    assert read.sessions.encryption.keys[0].secret == b"\xab" * 32
    with pytest.raises(ConfigError, match="SESSION_KEY"):
        parse(text, {})


def test_without_the_extra_encryption_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    seal(compress=True)
    with pytest.raises(ConfigError, match="extra `encryption`"):
        seal(OLD)


# ---------------------------------------------------------------- through the gateway

TOOLS = [{"type": "function", "function": {"name": "walrus_finder", "parameters": {"type": "object"}}}]


def walrus(seen: Seen) -> Say:
    if "find" in seen.raw.decode() and '"tool"' not in seen.raw.decode():
        return Say(calls=(("call_1", "walrus_finder", '{"sea":"walrus bay"}'),))
    return Say("a walrus indeed")


async def talk(gw: Harness) -> None:
    """Everything that a session stores: a system prompt, examples, tools, calls, results, text."""
    messages = [
        {"role": "system", "content": "you are a walrus"},
        {"role": "user", "content": "walrus?"},
        {"role": "assistant", "content": "walrus!"},
        {"role": "user", "content": "find a walrus"},
    ]
    body = {"model": "gpt", "tools": TOOLS, "messages": messages}
    assert (await gw.post("/v1/chat/completions", body, x_session_id="s")).status_code == 200
    result = [{"role": "tool", "tool_call_id": "call_1", "content": "a walrus at 3 o'clock"}]
    answer = await gw.post("/v1/chat/completions", {"model": "gpt", "messages": result}, x_session_id="s")
    assert answer.json()["choices"][0]["message"]["content"] == "a walrus indeed"
    assert gw.sent("chat")["tools"] == TOOLS
    assert [message["role"] for message in gw.sent("chat")["messages"]] == [
        "system", "user", "assistant", "user", "assistant", "tool",
    ]  # fmt: skip


async def test_no_word_of_a_conversation_is_on_the_disk(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path / "kept"))

    def everything() -> bytes:
        return b"".join(path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file())

    async with gateway(store, config=config(OLD), chat=walrus) as gw:
        await talk(gw)
        assert everything()
        assert b"walrus" not in everything()
    async with gateway(FileStore(str(tmp_path / "kept")), chat=walrus) as gw:
        await gw.chat("walrus", "plain")
        assert b"walrus" in everything()
        refused = await gw.chat("more", "s")
        assert refused.status_code == 503
        assert "'2025'" in refused.json()["error"]["message"]


async def test_no_word_of_a_conversation_is_in_redis(
    start: Start, redis_server: servers.Process, store: RedisStore
) -> None:
    redis_server.ask("CONFIG", "SET", "rdbcompression", "no")
    async with start(config=config(OLD), chat=walrus) as gw:
        await talk(gw)
        with redis.Redis(port=redis_server.port) as client:
            dumped = b"".join(client.dump(key) or b"" for key in client.keys(f"{store._prefix}*"))
        assert len(dumped) > 500
        assert b"walrus" not in dumped


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("keys", [(), (OLD,)])
async def test_a_resent_history_is_recognised(start: Start, keys: Any, compression: str) -> None:
    async with start(config=config(*keys, compression=compression)) as gw:
        messages: list[dict[str, str]] = []
        for n in (1, 2, 3):
            messages.append({"role": "user", "content": f"q{n}"})
            answer = await gw.post("/v1/chat/completions", {"model": "gpt", "messages": messages}, x_session_id="s")
            messages.append({"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"]})
        assert len(gw.sent("chat")["messages"]) == 5
        assert answer.headers["x-session-turn"] == "3"


async def test_sessions_go_on_while_keys_come_and_rotate(tmp_path: Path) -> None:
    async def one_more(text: str, settings: str) -> tuple[int, int]:
        async with gateway(FileStore(str(tmp_path / "kept")), config=settings) as gw:
            await gw.chat(text, "delta")
            resent = [{"role": role, "content": said} for role, said in history]
            resent.append({"role": "user", "content": text})
            answer = await gw.post("/v1/chat/completions", {"model": "gpt", "messages": resent}, x_session_id="resend")
            history.append(("user", text))
            history.append(("assistant", answer.json()["choices"][0]["message"]["content"]))
            bodies = [seen.body["messages"] for seen in gw.providers["chat"].seen]
            return len(bodies[0]), len(bodies[1])

    history: list[tuple[str, str]] = []
    assert await one_more("one", CONFIG) == (1, 1)
    assert await one_more("two", config(OLD)) == (3, 3)
    assert await one_more("three", config(NEW, OLD)) == (5, 5)
    assert await one_more("four", config(NEW, OLD, compression="zstd")) == (7, 7)
    assert await one_more("five", config(NEW, OLD)) == (9, 9)


async def test_the_management_api_reads_what_is_sealed(start: Start) -> None:
    headers = {"x_management_key": "m" * 20}
    async with start(config=config(OLD) + f"management: {{key: {'m' * 20}}}\n", chat=walrus) as gw:
        await talk(gw)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        read = await gw.client.get("/v0/management/sessions/s", headers=named)
        assert read.json()["system"] == "you are a walrus"
        assert read.json()["messages"][-1]["content"] == "a walrus indeed"
        listed = await gw.client.get("/v0/management/sessions", headers=named)
        assert listed.json()["count"] == 1


async def test_large_turns_are_sealed_too(start: Start) -> None:
    async with start(config=config(OLD, compression="zstd"), chat=lambda _: "walrus " * 60_000) as gw:
        await gw.chat("x" * 300_000, "s")
        await gw.chat("more", "s")
        assert gw.sent("chat")["messages"][0]["content"] == "x" * 300_000
        assert gw.sent("chat")["messages"][1]["content"].startswith("walrus walrus")


async def test_the_context_and_a_session_that_was_copied_are_sealed_for_their_place(tmp_path: Path) -> None:
    inner = FileStore(str(tmp_path / "kept"))
    store = SealedStore(inner, seal(OLD), Memory(1 << 20))
    append = first("one", calls=(("call_1", "walrus"),), system=said("walrus"))
    await store.append(KEY, replace(append, turn=turn("walrus")))
    assert await store.patch(KEY, Patch(context=Raw(b'{"plan": "walrus"}')))
    session = await loaded(store)
    assert bytes(session.head.context) == b'{"plan": "walrus"}'
    assert session.marks[1].calls == (("call_1", "walrus"),)
    copy = SessionKey("zeta", "", "copy")
    assert await store.write(copy, session)
    copied = await loaded(store, copy)
    assert (copied.turns, copied.head.system, copied.head.context) == (
        session.turns, session.head.system, session.head.context,
    )  # fmt: skip
    kept = b"".join(path.read_bytes() for path in (tmp_path / "kept").rglob("*.log"))
    assert b"walrus" not in kept
    stolen = await loaded(inner)
    await inner.write(SessionKey("thief", "", "s"), stolen)
    with pytest.raises(StoreError, match="moved"):
        await store.load(SessionKey("thief", "", "s"), turns=1, marks=True, keep=0)
    await store.close()
