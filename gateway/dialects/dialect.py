"""What a dialect is: the same verbs in every module, both directions, no I/O.

`Request` is a client's request opened but not translated: its members are kept as the bytes they
came in, so that the same dialect sends them on unchanged and only another one pays for decoding.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Raw, Struct

from gateway.conversation import AnyPart, Event, Message, Origin, Prompt, Reply, Tool
from gateway.dialects.lists import Payload
from gateway.errors import GatewayError, UpstreamError


class Request(Struct):
    """A client's request: `fields` are the members of its JSON object, in order, undecoded.

    `model` and `stream` come from the body or, for Gemini, from the path. `query` is what the
    reply's framing depends on outside the body (Gemini's `alt=sse`: "sse" or "").
    """

    dialect: str
    fields: dict[str, Raw]
    model: str
    stream: bool
    query: str = ""


class Spoken(Struct, frozen=True):
    """The conversation inside a request, undecoded: each item the JSON of one message of the dialect.

    `system` is the request's own system prompt as a list of the dialect's JSON values (leading system and
    developer messages in Chat; one value elsewhere), `tools` the JSON of its tools member, b"" if absent.
    """

    system: tuple[bytes, ...]
    messages: tuple[bytes, ...]
    tools: bytes


class Encoded(Struct, frozen=True):
    """A request for a provider: the JSON body, and the names of what could not be carried over."""

    body: bytes
    dropped: tuple[str, ...] = ()


class EncodedMessages(Struct, frozen=True):
    """Messages in a provider's JSON, and the names of what could not be carried over."""

    messages: tuple[bytes, ...]
    dropped: tuple[str, ...] = ()


class ReplyHead(Struct, frozen=True):
    """What an encoded reply needs from outside: `id` is unique per answer (hex, no prefix), `created` Unix seconds."""

    id: str
    created: int
    request: Request


class Counting(Struct, frozen=True):
    """A vendor's endpoint that counts a prompt's tokens without a reply.

    `path` is what the SDK appends to its base URL; `body` makes the endpoint's request out of one for a reply, given
    the model; `decode` reads the count out of an answer (raises ValueError), and `encode` writes such an answer.
    """

    path: Callable[[str], str]
    body: Callable[[bytes, str], bytes]
    decode: Callable[[bytes], int]
    encode: Callable[[int], bytes]


class ReplyDecoder(Protocol):
    """Decodes one streamed reply: bytes as they arrive, in pieces of any size, to events."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. A provider's error frame becomes Failed, and nothing after it counts."""

    def close(self) -> list[Event]:
        """The events that only the end of the stream tells. Raises UpstreamError if the reply was cut short."""


class ReplyEncoder(Protocol):
    """Encodes one streamed reply as the dialect's server-sent events."""

    def encode(self, event: Event) -> bytes:
        """The bytes for one event; may be empty. The dialect's terminal event is written for End."""

    def error(self, error: GatewayError) -> bytes:
        """The dialect's error event: how a stream ends that cannot be completed."""


class RelayFilter(Protocol):
    """Takes out of a verbatim stream what the gateway, not the client, asked for."""

    def feed(self, data: bytes) -> bytes:
        """What of `data` the client gets; at most an incomplete event is held back."""

    def close(self) -> bytes:
        """What was held back."""

    def fail(self, error: bytes) -> bytes:
        """The end of a stream that cannot be completed, in place of what was held back: `error` of a fresh encoder."""


class Dialect(Protocol):
    """The verbs. Each dialect is a package that exports them as functions.

    Bad input from a client raises GatewayError with Kind.INVALID and `param`; bad output of a provider
    raises UpstreamError with Kind.BAD_GATEWAY. `origin` and `target` say whose signatures are whose:
    decoding stamps signatures with `origin`, encoding leaves out each one that does not fit `target`.
    """

    NAME: str
    FORWARDED_HEADERS: frozenset[str]
    """Lower-case names of client headers that go up to a provider of the same dialect."""
    JOINABLE: bool
    """Whether `splice` looks at no message without SIGNATURE_MARK, so that it takes several as one (`told`)."""
    COUNTING: Counting | None
    """How tokens are counted, where the vendor has an endpoint for it."""

    # requests
    def open_request(self, body: bytes, *, model: str = "", stream: bool = False, query: str = "") -> Request:
        """Read the members; check only what routing needs."""

    def spoken(self, request: Request) -> Spoken:
        """The conversation inside, undecoded."""

    def splice(
        self,
        request: Request,
        *,
        model: str,
        system: Sequence[bytes] | None = None,
        messages: Sequence[bytes] | None = None,
        tools: bytes | None = None,
        told: Sequence[bytes] = (),
    ) -> Payload:
        """The request as a body for a provider of the same dialect: all as sent but for what is given here.

        `told`: what stands in front of `messages`, where the dialect is JOINABLE: pieces of one or more messages
        without SIGNATURE_MARK, each message with a comma behind it.
        """

    def decode_prompt(self, request: Request) -> Prompt:
        """The whole request in neutral form."""

    def encode_prompt(self, prompt: Prompt, target: Origin, history: Sequence[bytes] = ()) -> Encoded:
        """A body for a provider. `history` is messages of this dialect that go in front of the prompt's own."""

    def cache_hint(self, body: Payload, *, model: str, key: str, history: bool) -> Payload:
        """A session's body for a provider, with what tells the vendor's prompt cache what to keep, if it needs that.

        `key` names the session, in at most 64 of A-Z a-z 0-9 _ and -. `history`: earlier turns were put in front.
        What the client itself said about caching stands.
        """

    # pieces of requests, for sessions
    def decode_messages(self, messages: Sequence[bytes], origin: Origin | None = None) -> tuple[Message, ...]:
        """Messages from their JSON."""

    def encode_messages(self, messages: Sequence[Message], target: Origin) -> EncodedMessages:
        """Messages to JSON; deterministic, so that a translated history stays byte-stable."""

    def decode_system(self, system: Sequence[bytes]) -> tuple[AnyPart, ...]:
        """A system prompt as `spoken` gives it, to parts."""

    def encode_system(self, system: Sequence[AnyPart]) -> tuple[bytes, ...]:
        """The way back."""

    def decode_tools(self, tools: bytes) -> tuple[Tool, ...]:
        """The tools member."""

    def encode_tools(self, tools: Sequence[Tool]) -> Encoded:
        """The way back, as the JSON of the tools member."""

    # replies
    def decode_reply(self, body: bytes, origin: Origin, *, skim: bool = False, keep: bool = True) -> Reply:
        """A whole reply. An error object with status 200 raises UpstreamError.

        `skim`: the bytes are passed on and nobody keeps what they say, so that its content may be left out.
        `keep`: a session will keep it, so `said` is set.
        """

    def encode_reply(self, reply: Reply, head: ReplyHead) -> bytes:
        """A whole reply for a client."""

    def reply_decoder(self, origin: Origin, *, skim: bool = False) -> ReplyDecoder:
        """For one streamed reply of a provider. `skim`: content after the first may be left out."""

    def reply_encoder(self, head: ReplyHead) -> ReplyEncoder:
        """For one streamed reply to a client."""

    def relay_filter(self, request: Request) -> RelayFilter | None:
        """For a stream that is passed on verbatim; None if nothing has to be taken out."""

    # errors
    def decode_error(self, status: int, body: bytes) -> UpstreamError:
        """What a provider's error answer means. `body` may be anything, or empty."""

    def encode_error(self, error: GatewayError, request_id: str) -> bytes:
        """The JSON body of an error answer, with the dialect's own type names."""

    # where and how a provider is reached
    def path(self, model: str, *, stream: bool) -> str:
        """What the vendor's SDK appends to its base URL, with query if any; `model` is percent-encoded."""

    def auth(self, key: str, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers that carry a credential. `headers` are the client's forwarded ones (lower-case names)."""
