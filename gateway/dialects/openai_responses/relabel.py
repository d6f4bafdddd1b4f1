"""A provider's response as one of ours: under our id, with our state; all else as the provider's bytes have it."""

from msgspec import Raw

from gateway.dialects.dialect import ReplyHead
from gateway.dialects.openai_responses.replies import as_said
from gateway.dialects.openai_responses.wire import FIELDS, ITEMS, UNREADABLE, dump, is_text, json, present

_MARK = b'"response"'
_LAST = (b'"response.completed"', b'"response.incomplete"')


def state_of(head: ReplyHead) -> dict[str, Raw]:
    """The members of a response object that the gateway decides over, since it keeps the state."""
    fields = head.request.fields
    previous, conversation = fields.get("previous_response_id"), fields.get("conversation")
    members = {"id": json(f"resp_{head.id}"), "store": fields.get("store", Raw(b"true"))}
    members["previous_response_id"] = previous if previous is not None and present(previous) else Raw(b"null")
    if conversation is not None and present(conversation):
        members["conversation"] = json({"id": conversation}) if is_text(conversation) else conversation
    return members


def relabelled(response: bytes, head: ReplyHead) -> bytes:
    """A whole response as ours."""
    return dump(FIELDS.decode(response) | state_of(head))


class Relabeller:
    """A RelayFilter that gives the response objects of a stream our id and state; other events pass as they are.

    `said` is the output in the end, as the vendor takes it back: with the ids that the client has seen.
    """

    def __init__(self, head: ReplyHead) -> None:
        self._members = state_of(head)
        self._rest = b""
        self.said: tuple[bytes, ...] = ()

    def feed(self, data: bytes) -> bytes:
        """What of `data` the client gets; at most an incomplete event is held back."""
        data = self._rest + data
        end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\r\n\r\n") + 4, data.rfind(b"\r\r") + 2)
        if end < 5:  # noqa: PLR2004 - none of them was found
            self._rest = data
            return b""
        data, self._rest = data[:end], data[end:]
        if _MARK not in data:
            return data
        return self._relabelled(data)

    def close(self) -> bytes:
        """What was held back."""
        rest, self._rest = self._rest, b""
        return self._relabelled(rest)

    def fail(self, error: bytes) -> bytes:
        """The error alone: half an event is nothing to anyone."""
        self._rest = b""
        return error

    def _relabelled(self, data: bytes) -> bytes:
        return b"".join(self._line(line) for line in data.splitlines(keepends=True))

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(b"data:") or _MARK not in line:
            return line
        try:
            event = FIELDS.decode(line[5:].strip())
            response = FIELDS.decode(event["response"])
            if bytes(event["type"]) in _LAST:
                self.said = tuple(raw for item in ITEMS.decode(response["output"]) if (raw := as_said(item)))
        except (*UNREADABLE, KeyError):
            return line
        event["response"] = json(response | self._members)
        return b"data: " + dump(event) + line[len(line.rstrip(b"\r\n")) :]
