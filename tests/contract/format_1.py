"""What the fixtures of stored format 1 hold. Never change this, nor them: such sessions are out there."""

from typing import Final

from msgspec import Raw

from gateway.config import Encryption, EncryptionKey
from gateway.conversation import Origin, Said, Usage
from gateway.sessions.store import Append, Head, Limits, Mark, Pin, SessionKey, Totals, Turn

NOW: Final = 1_790_000_000.0
KEY: Final = SessionKey("acme", "jo@example.org", "chat-1")
GONE: Final = SessionKey("acme", "", "deleted")
ORIGIN: Final = Origin("main", "gpt-5")
PIN: Final = Pin("main", "k1")
LIMITS: Final = Limits(ttl=86400.0, max_age=30 * 86400.0, max_turns=18, max_bytes=1 << 20)
SYSTEM: Final = Said("openai_chat", (b'{"role":"system","content":"be brief"}',))
PREAMBLE: Final = Said("openai_chat", (b'{"role":"user","content":"hi"}', b'{"role":"assistant","content":"ho"}'))
TOOLS: Final = Said("openai_chat", (b'[{"type":"function","function":{"name":"weather"}}]',))
SEALED: Final = (b'{"role":"user","content":"' + b"again " * 100 + b'"}', b"{}")
ENCRYPTION: Final = Encryption(keys=(EncryptionKey(id="2026", key="ab" * 32),))


def turn_of(number: int) -> Turn:
    return Turn(
        question=Said("openai_chat", (b'{"role":"user","content":"question %d"}' % number,)),
        reply=Said("anthropic", (b'{"role":"assistant","content":"answer %d"}' % number,), ORIGIN),
        usage=Usage(100 + number, 10, 5, 2, 1),
        stop="tool_calls" if number % 2 else "end",
        elapsed=1000 + number,
        incomplete=number == 19,
    )


def mark_of(number: int) -> Mark:
    return Mark(
        question=bytes([number]) * 16,
        reply=bytes([100 + number]) * 16,
        tokens=number * 10,
        fresh=number % 5 != 0,
        incomplete=number == 19,
        calls=((f"call_{number}", "weather"),) if number % 2 else (),
        results=(f"call_{number - 1}",) if number % 5 == 0 else (),
    )


def append_of(number: int, generation: str | None, revision: int) -> Append:
    return Append(
        token=f"token-{number}",
        turn=turn_of(number),
        mark=mark_of(number),
        limits=LIMITS,
        generation=generation,
        revision=revision,
        system=SYSTEM if number == 1 else None,
        preamble=PREAMBLE if number == 1 else None,
        tools=TOOLS if number == 2 else None,
        resends=True if number == 3 else None,
        cut=4 if number == 10 else None,
        pin=PIN if number == 1 else None,
        messages=2,
        cost=0.25,
    )


PAIR: Final = (turn_of(7), mark_of(7))
HEAD: Final = Head(
    key=KEY,
    generation="g",
    revision=3,
    first=1,
    next=4,
    created=1,
    updated=2,
    expires=3,
    size=99,
    cut=2,
    resends=True,
    system=SYSTEM,
    preamble=PREAMBLE,
    tools=TOOLS,
    pin=PIN,
    last=ORIGIN,
    totals=Totals(turns=3, messages=6, usage=Usage(1, 2, 3, 4, 5), cost=0.75),
    context=Raw(b'{"plan": "gold"}'),
)
