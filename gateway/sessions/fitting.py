"""What goes up to one target: the history in front, in the target's dialect, within its window (rules S4, S6, S13).

Fitted per attempt, since targets differ. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from gateway.conversation import SIGNATURE_MARK, Message, Origin, Prompt, Said, Text, ToolResult
from gateway.dialects.dialect import Dialect, Request
from gateway.dialects.lists import Payload, joined
from gateway.dialects.registry import DIALECTS
from gateway.routing.table import Target
from gateway.sessions.history import Aligned
from gateway.sessions.store import Mark, Memo, Turn

UNANSWERED = "This tool call was never answered."
KEPT_SHARE = 0.75
"""How much of a window a cut leaves: the prefix, and with it the provider's cache, then stays for many turns."""


class Fitted(Struct, frozen=True, kw_only=True):
    """A body for one target. `injected` messages of history are in it; turns before `cut` were left out.

    `tokens` is what the injected turns are counted as.
    """

    body: Payload
    dropped: tuple[str, ...] = ()
    injected: int = 0
    trimmed: int = 0
    cut: int = 0
    tokens: int = 0


class Fitting:
    """One request, to be fitted to as many targets as it takes; what they share is decoded once.

    `tag` names the session to a provider's prompt cache; it tells nothing about the session.
    """

    def __init__(
        self, client: Dialect, request: Request, aligned: Aligned | None, *, cut: int, max_turns: int, tag: str = ""
    ) -> None:
        self._client = client
        self._request = request
        self._aligned = aligned
        self._cut = cut
        self._max_turns = max_turns
        self._tag = tag
        self._prompt: Prompt | None = None
        self.alone = aligned is None
        """Whether there is no session: nothing is put in front, and nobody keeps the reply."""

    def fit(self, target: Target) -> Fitted:
        """The body for `target`."""
        fitted = self._fit(target)
        body = fitted.body
        if self._aligned is not None and self._tag and target.cache_hints:
            hint = DIALECTS[target.dialect].cache_hint
            body = hint(body, model=target.model, key=self._tag, history=fitted.injected > 0)
        if target.adjust is not None:
            body = target.adjust.apply(joined(body))
        return fitted if body is fitted.body else replace(fitted, body=body)

    def _fit(self, target: Target) -> Fitted:
        if self._aligned is None:
            return self._alone(target)
        numbers = window(self._aligned, target.context_tokens, self._max_turns, self._cut)
        told = self._told(self._aligned, numbers, target)
        body, dropped = self._whole(self._aligned, told, target)
        return Fitted(
            body=body,
            dropped=dropped,
            injected=told.amount,
            trimmed=numbers[0] - self._aligned.first if numbers else 0,
            cut=numbers.start,
            tokens=told.tokens,
        )

    def _alone(self, target: Target) -> Fitted:
        if target.dialect == self._client.NAME:
            return Fitted(body=self._client.splice(self._request, model=target.model))
        encoded = DIALECTS[target.dialect].encode_prompt(opened_by_system(self._decoded(target)), target.origin)
        return Fitted(body=encoded.body, dropped=encoded.dropped)

    def _decoded(self, target: Target) -> Prompt:
        if self._prompt is None:
            self._prompt = self._client.decode_prompt(self._request)
        if self._prompt.max_tokens is None and target.max_output_tokens:
            return replace(self._prompt, max_tokens=target.max_output_tokens)
        return self._prompt

    def _whole(self, aligned: Aligned, told: "_Told", target: Target) -> tuple[Payload, tuple[str, ...]]:
        provider, in_pieces = DIALECTS[target.dialect], told.in_pieces
        if provider is self._client:
            spliced = provider.splice(
                self._request,
                model=target.model,
                system=_system(aligned, provider),
                messages=aligned.sent if in_pieces else (*told.messages, *aligned.sent),
                tools=_tools(aligned.tools, provider),
                told=told.messages if in_pieces else (),
            )
            return spliced, ()
        prompt = self._decoded(target)
        messages = named(self._client.decode_messages(aligned.sent), aligned.calls)
        system = prompt.system or (
            DIALECTS[aligned.system.dialect].decode_system(aligned.system.messages) if aligned.system else ()
        )
        tools = prompt.tools or (
            DIALECTS[aligned.tools.dialect].decode_tools(aligned.tools.messages[0]) if aligned.tools else ()
        )
        prompt = replace(prompt, messages=messages, system=system, tools=tools)
        encoded = provider.encode_prompt(prompt, target.origin, told.messages)
        return encoded.body, encoded.dropped

    def _told(self, aligned: Aligned, numbers: range, target: Target) -> "_Told":
        """What a target is told of these turns. What it was told before is not made anew."""
        provider, origin = DIALECTS[target.dialect], target.origin
        joined = provider is self._client and provider.JOINABLE
        # Whether the last one's calls are answered, the request says.
        settled = numbers
        if numbers and aligned.marks[numbers.stop - 1].calls:
            settled = range(numbers.start, numbers.stop - 1)
        memo = aligned.memo or Memo()
        told = memo.value
        if not isinstance(told, _Told) or not told.goes_on(settled, (provider.NAME, origin, joined)):
            told = _Told((provider.NAME, origin, joined), range(numbers.start, numbers.start), (), 0, 0)
        told = memo.value = told.on(settled, aligned, provider)
        if settled is not numbers:
            told = told.on(numbers, aligned, provider)
        if not aligned.preamble:
            return told
        preamble = tuple(render(aligned.preamble, provider, origin))
        messages = (*preamble, *told.apart())
        return told._replace(messages=messages, amount=len(preamble) + told.amount, plain=False)


class _Told(NamedTuple):
    """Turns `numbers` as a target is told them, in `amount` messages, counted as `tokens`.

    `how`: in which dialect, to whom, and whether `messages` are pieces, as `splice` takes what was told, as long as
    they are `plain`: a message with a mark of a signature in it, if only as a text, is looked at on its own. They stay
    so for as long as the turns do.
    """

    how: tuple[str, Origin, bool]
    numbers: range
    messages: tuple[bytes, ...]
    amount: int
    tokens: int
    plain: bool = True

    @property
    def in_pieces(self) -> bool:
        """Whether there is a comma behind each message, and any number of them in a piece."""
        return self.plain and self.how[2]

    def apart(self) -> tuple[bytes, ...]:
        """The messages without a comma behind the last one; those in pieces are one then."""
        if not self.in_pieces:
            return self.messages
        return (b"".join(self.messages)[:-1],) if self.messages else ()

    def goes_on(self, numbers: range, how: tuple[str, Origin, bool]) -> bool:
        """Whether these turns, so told, begin with those."""
        return self.how == how and self.numbers.start == numbers.start and self.numbers.stop <= numbers.stop

    def on(self, numbers: range, aligned: Aligned, provider: Dialect) -> "_Told":
        """The same up to the end of `numbers`."""
        if self.numbers.stop == numbers.stop:
            return self
        rest = range(self.numbers.stop, numbers.stop)
        _, origin, joined = self.how
        new, plain = _as_it_was(aligned, rest, provider.NAME, origin), self.plain
        if new is None:
            new = [message for number in rest for message in _turn(aligned, number, provider, origin)]
            plain = plain and SIGNATURE_MARK not in b"".join(new)
        tokens = self.tokens + sum([aligned.marks[number].tokens for number in rest])
        if joined and plain:
            messages = _added(self.messages, b",".join((*new, b""))) if new else self.messages
        else:
            messages = (*self.apart(), *new)
        return _Told(self.how, numbers, messages, self.amount + len(new), tokens, plain)


def _added(pieces: tuple[bytes, ...], piece: bytes) -> tuple[bytes, ...]:
    """One piece more. Small ones become one with it, so that there are few, and each byte is copied a few times only.

    What lies together is fetched from memory in one go; many small pieces cost a wait each.
    """
    apart, size = len(pieces), len(piece)
    while apart and len(pieces[apart - 1]) < 2 * size:
        apart -= 1
        size += len(pieces[apart])
    return (*pieces[:apart], b"".join((*pieces[apart:], piece)))


def _as_it_was(aligned: Aligned, numbers: range, dialect: str, origin: Origin) -> list[bytes] | None:
    """Turns as one dialect and one target said them; None if one of them must be looked at on its own."""
    said: list[bytes] = []
    for number in numbers:
        turn = aligned.turns[number]
        question, reply = turn.question, turn.reply
        if question.dialect != dialect or reply.dialect != dialect or reply.origin not in (None, origin):
            return None
        if aligned.marks[number].calls and _open_calls(aligned, number):
            return None
        said += question.messages
        said += reply.messages
    return None if SIGNATURE_MARK in b"".join(said) else said


def _turn(aligned: Aligned, number: int, provider: Dialect, origin: Origin) -> Iterable[bytes]:
    """The messages of one turn for a target, with results for its calls that nobody answered."""
    turn, before = aligned.turns[number], aligned.marks.get(number - 1)
    yield from render(turn.question, provider, origin, dict(before.calls) if before and before.calls else {})
    yield from render(turn.reply, provider, origin)
    if unanswered := _open_calls(aligned, number):
        content = (Text(text=UNANSWERED),)
        results = [ToolResult(call_id=id, name=name, content=content, is_error=True) for id, name in unanswered]
        yield from provider.encode_messages([Message("user", tuple(results))], origin).messages


def _open_calls(aligned: Aligned, number: int) -> list[tuple[str, str]]:
    """The calls of a turn that the next one, or the request itself, does not answer: id and name."""
    answers = aligned.marks.get(number + 1, aligned.mark).results
    if "" in answers:  # Gemini: matched by name and order
        return []
    return [(id, name) for id, name in aligned.marks[number].calls if id not in answers]


def opened_by_system(prompt: Prompt) -> Prompt:
    """A prompt whose leading system messages (Responses has them in its input) are part of its system prompt."""
    if not prompt.messages or prompt.messages[0].role != "system":
        return prompt
    first = next((n for n, message in enumerate(prompt.messages) if message.role != "system"), len(prompt.messages))
    system = tuple(part for message in prompt.messages[:first] for part in message.parts)
    return replace(prompt, system=prompt.system + system, messages=prompt.messages[first:])


def render(said: Said, provider: Dialect, target: Origin, calls: Mapping[str, str] | None = None) -> Iterable[bytes]:
    """Messages as they were said, in the provider's dialect; unchanged if they are, and no foreign signature is in."""
    foreign = said.origin is not None and said.origin != target
    if said.dialect == provider.NAME and not foreign:
        for raw in said.messages:
            if SIGNATURE_MARK in raw:
                break
        else:
            return said.messages
    messages = DIALECTS[said.dialect].decode_messages(said.messages, said.origin)
    return provider.encode_messages(named(messages, calls or {}), target).messages


def named(messages: Iterable[Message], calls: Mapping[str, str]) -> tuple[Message, ...]:
    """Messages with their tool results' ids and names completed from the calls that they answer."""
    waiting = dict(calls)
    return tuple(
        replace(
            message,
            parts=tuple(_named(part, waiting) if isinstance(part, ToolResult) else part for part in message.parts),
        )
        for message in messages
    )


def _named(result: ToolResult, waiting: dict[str, str]) -> ToolResult:
    id = result.call_id or next((call for call, name in waiting.items() if name == result.name), "")
    name = waiting.pop(id, "")
    return replace(result, call_id=id, name=result.name or name)


def _system(aligned: Aligned, provider: Dialect) -> tuple[bytes, ...] | None:
    """None for the request's own."""
    said = aligned.system
    if said is None:
        return None if aligned.brought_system else ()
    if said.dialect == provider.NAME:
        return said.messages
    return provider.encode_system(DIALECTS[said.dialect].decode_system(said.messages))


def _tools(said: Said | None, provider: Dialect) -> bytes | None:
    if said is None or said.dialect == provider.NAME:
        return said.messages[0] if said else None
    return provider.encode_tools(DIALECTS[said.dialect].decode_tools(said.messages[0])).body


def window(aligned: Aligned, context_tokens: int, max_turns: int, cut: int) -> range:
    """The turns to inject: from where the last cut was, or further on, in a block, if the window is full.

    Only whole turns go, and only in front of one that begins with a user message.
    """
    numbers = _numbers(aligned.turns, cut)
    marks = aligned.marks
    tokens = 0
    if context_tokens:
        tokens = sum([marks[number].tokens for number in numbers]) + aligned.mark.tokens
    over = len(numbers) > max_turns or (context_tokens and tokens > context_tokens)
    if not over:
        return numbers
    turns_left, tokens_left = int(max_turns * KEPT_SHARE) or 1, context_tokens * KEPT_SHARE
    for place, number in enumerate(numbers):
        fits = len(numbers) - place <= turns_left and (not context_tokens or tokens <= tokens_left)
        if fits and marks[number].fresh:
            return numbers[place:]
        tokens -= marks[number].tokens
    return _from_newest_fresh(numbers, marks)


def _numbers(turns: Mapping[int, Turn], cut: int) -> range:
    """The turns that there are from number `cut` on."""
    if not turns:
        return range(cut, cut)
    lowest = next(iter(turns))
    end = lowest + len(turns)
    return range(lowest, end) if cut <= lowest else range(cut, max(cut, end))


def _from_newest_fresh(numbers: range, marks: Mapping[int, Mark]) -> range:
    return next((numbers[place:] for place in range(len(numbers) - 1, -1, -1) if marks[numbers[place]].fresh), numbers)


def turn_tokens(aligned: Aligned | None, turn: Turn, fitted: Fitted) -> int:
    """What a turn adds to a prompt: by the provider's count where it gave one, else a quarter of the bytes."""
    if turn.usage is not None and aligned is not None:
        before = fitted.tokens
        if aligned.mode == "resend":  # the client told all of it
            before = sum([mark.tokens for number, mark in aligned.marks.items() if fitted.cut <= number])
        asked = turn.usage.input - before
        if asked > 0:
            return asked + turn.usage.output - turn.usage.reasoning
    return (sum(map(len, turn.question.messages)) + sum(map(len, turn.reply.messages))) // 4
