"""Tool calls and their results: ids where Gemini has none, results matched to calls and put behind them."""

from collections.abc import Sequence
from hashlib import sha256

from msgspec.structs import replace

from gateway.conversation import AnyPart, Message, ToolCall, ToolResult, merged


def call_id(seed: str, position: int, name: str, arguments: str) -> str:
    """An id for a call that came without: the same for the same call, another for any other."""
    return "call_" + sha256("\0".join((seed, str(position), name, arguments)).encode()).hexdigest()[:24]


def paired(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with every call's id set, and with results matched to the calls before them.

    A result without an id answers the first call of its name that waits; a second answer to one call is left out.
    Where the call is not among `messages`, the result keeps the id it has, or none.
    """
    if not [part for message in messages for part in message.parts if isinstance(part, (ToolCall, ToolResult))]:
        return tuple([message for message in messages if message.parts])
    pairing = _Pairing()
    result: list[Message] = []
    group: list[Message] = []
    for message in messages:
        if message.role == "assistant":
            result += pairing.answered(group)
            group = []
            result.append(pairing.identified(message))
        else:
            group.append(message)
    result += pairing.answered(group)
    return tuple(message for message in result if message.parts)


class _Pairing:
    def __init__(self) -> None:
        self._waiting: list[ToolCall] = []
        self._names: dict[str, str] = {}
        self._made: dict[tuple[str, str], int] = {}

    def identified(self, message: Message) -> Message:
        """An assistant's message with the ids of its calls."""
        parts = tuple(self._call(part) if isinstance(part, ToolCall) else part for part in message.parts)
        return Message(message.role, parts)

    def _call(self, call: ToolCall) -> ToolCall:
        if not call.id:
            same = call.name, call.arguments
            self._made[same] = self._made.get(same, -1) + 1
            call = replace(call, id=call_id("", self._made[same], *same))
        self._waiting.append(call)
        self._names[call.id] = call.name
        return call

    def answered(self, group: list[Message]) -> list[Message]:
        """The user's messages between two of the assistant's, with the ids and names of their results."""
        results = [part for message in group for part in message.parts if isinstance(part, ToolResult)]
        if not results:
            return group
        answers = iter(self._answers(results))

        def kept(parts: tuple[AnyPart, ...]) -> tuple[AnyPart, ...]:
            matched = [next(answers) if isinstance(part, ToolResult) else part for part in parts]
            return tuple(part for part in matched if part is not None)

        return [Message(message.role, kept(message.parts)) for message in group]

    def _answers(self, results: list[ToolResult]) -> list[ToolResult | None]:
        done: set[str] = set()
        answers: list[ToolResult | None] = [None] * len(results)
        order = sorted(range(len(results)), key=lambda i: not results[i].call_id)
        unmatched: dict[str, list[int]] = {}
        for i in order:
            if results[i].call_id:
                answers[i] = self._by_id(results[i], done)
            else:
                unmatched.setdefault(results[i].name, []).append(i)
        for name, indexes in unmatched.items():
            self._by_name(name, indexes, results, answers, done)
        return answers

    def _by_id(self, result: ToolResult, done: set[str]) -> ToolResult | None:
        awaited = any(call.id == result.call_id for call in self._waiting)
        if result.call_id in done or (result.call_id in self._names and not awaited):
            return None
        done.add(result.call_id)
        self._waiting = [call for call in self._waiting if call.id != result.call_id]
        return replace(result, name=result.name or self._names.get(result.call_id, ""))

    def _by_name(
        self,
        name: str,
        indexes: list[int],
        results: list[ToolResult],
        answers: list[ToolResult | None],
        done: set[str],
    ) -> None:
        waiting = [call for call in self._waiting if call.name == name or not name]
        known = bool(waiting) or name in self._names.values()
        said = list(indexes)
        for i in indexes:
            if known and len(said) > len(waiting) and any(results[j] == results[i] for j in said if j < i):
                said.remove(i)
        for i in said:
            if waiting:
                answers[i] = self._by_id(replace(results[i], call_id=waiting.pop(0).id), done)
            elif not known:
                answers[i] = results[i]


def arranged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with alternating roles and each result directly behind its call, in the order of the calls.

    Results of calls that are not among `messages` stay where they are; a second result of one call is left out.
    """
    calls = {part.id for message in messages for part in message.parts if isinstance(part, ToolCall)}
    if not calls:
        return merged(messages)
    results: dict[str, list[ToolResult]] = {}
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolResult) and part.call_id in calls:
                results.setdefault(part.call_id, []).append(part)
    arrangement: list[Message] = []
    for message in merged(messages):
        if message.role == "assistant":
            ids = [part.id for part in message.parts if isinstance(part, ToolCall)]
            answers = tuple(results[each].pop(0) for each in ids if results.get(each))
            arrangement += [message, *([Message("user", answers)] if answers else [])]
        else:
            rest = tuple(part for part in message.parts if not _answers_any(part, calls))
            arrangement += [Message(message.role, rest)] if rest else []
    return merged(arrangement)


def _answers_any(part: AnyPart, calls: set[str]) -> bool:
    return isinstance(part, ToolResult) and part.call_id in calls
