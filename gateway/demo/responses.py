"""OpenAI Responses: https://platform.openai.com/docs/api-reference/responses. It keeps nothing between requests."""

from collections.abc import Iterator
from itertools import count as numbers

from gateway.demo import chat
from gateway.demo.mind import ANY_OBJECT, Answer, Ask, Heard, Offered, Schema, words
from gateway.demo.wire import BadRequest, Body, count, frame, halves, items, text_of

error = chat.error


def read(body: Body) -> Ask:
    """The request. Raises BadRequest: there is nothing that a `previous_response_id` could name."""
    if body.get("previous_response_id"):
        raise BadRequest("previous_response_id: this provider keeps no responses.")
    given = body.get("input")
    inputs = [{"role": "user", "content": given}] if isinstance(given, str) else items(given)
    if not inputs:
        raise BadRequest("input: a text or a list of items is needed.")
    tools = [tool for tool in items(body.get("tools")) if tool.get("type") == "function"]
    choice = body.get("tool_choice") or "auto"
    return Ask(
        model=str(body.get("model", "demo")),
        stream=bool(body.get("stream")),
        heard=tuple(_heard(inputs)),
        system=str(body.get("instructions") or ""),
        tools=tuple(Offered(str(tool.get("name", "")), tool.get("parameters") or {}) for tool in tools),
        choice=str(choice.get("name", "auto")) if isinstance(choice, dict) else str(choice),
        schema=_schema((body.get("text") or {}).get("format")),
    )


def whole(ask: Ask, answer: Answer, answer_id: str, now: int) -> Body:
    """The whole reply."""
    item = _item(answer, answer_id, "completed", answer.text, answer.arguments)
    return {
        **_response(ask, answer_id, now, "completed"),
        "output": [item],
        "usage": {
            "input_tokens": answer.input,
            "input_tokens_details": {"cached_tokens": answer.cached, "cache_write_tokens": 0},
            "output_tokens": answer.output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input + answer.output,
        },
    }


def stream(ask: Ask, answer: Answer, answer_id: str, now: int) -> Iterator[bytes]:
    """The reply as the vendor's sequence of numbered events."""
    number = numbers()

    def event(kind: str, **members: object) -> bytes:
        return frame({"type": kind, "sequence_number": next(number), **members}, kind)

    begun = _response(ask, answer_id, now, "in_progress")
    item = _item(answer, answer_id, "in_progress", None, "")
    place = {"item_id": item["id"], "output_index": 0}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    yield event("response.output_item.added", output_index=0, item=item)
    if answer.tool:
        for piece in halves(answer.arguments):
            yield event("response.function_call_arguments.delta", **place, delta=piece)
        done = {**place, "name": answer.tool, "arguments": answer.arguments}
        yield event("response.function_call_arguments.done", **done)
    else:
        place = {**place, "content_index": 0}
        yield event("response.content_part.added", **place, part=_part(""))
        for word in words(answer.text):
            yield event("response.output_text.delta", **place, delta=word, logprobs=[])
        yield event("response.output_text.done", **place, text=answer.text, logprobs=[])
        yield event("response.content_part.done", **place, part=_part(answer.text))
    reply = whole(ask, answer, answer_id, now)
    yield event("response.output_item.done", output_index=0, item=reply["output"][0])
    yield event("response.completed", response=reply)


def _heard(inputs: list[Body]) -> Iterator[Heard]:
    results: list[str] = []
    for item in inputs:
        if item.get("type") == "function_call_output":
            results.append(text_of(item.get("output")))
            continue
        if results:
            yield Heard("user", results=tuple(results))
            results = []
        if item.get("role") in ("user", "assistant"):
            content = item.get("content")
            yield Heard(item["role"], text_of(content), count(content, "input_image"))
        elif item.get("type") == "function_call":
            yield Heard("assistant")
    if results:
        yield Heard("user", results=tuple(results))


def _schema(form: object) -> Schema | None:
    if not isinstance(form, dict):
        return None
    match form.get("type"):
        case "json_schema":
            schema = form.get("schema")
            return schema if isinstance(schema, dict) else ANY_OBJECT
        case "json_object":
            return ANY_OBJECT
        case _:
            return None


def _response(ask: Ask, answer_id: str, now: int, status: str) -> Body:
    return {
        "id": f"resp_{answer_id}",
        "object": "response",
        "created_at": now,
        "status": status,
        "model": ask.model,
        "error": None,
        "incomplete_details": None,
        "instructions": ask.system or None,
        "metadata": {},
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "store": False,
        "usage": None,
    }


def _item(answer: Answer, answer_id: str, status: str, text: str | None, arguments: str) -> Body:
    if answer.tool:
        call = {"name": answer.tool, "arguments": arguments, "call_id": f"call_{answer_id}"}
        return {"type": "function_call", "id": f"fc_{answer_id}", "status": status, **call}
    content = [] if text is None else [_part(text)]
    return {"type": "message", "id": f"msg_{answer_id}", "role": "assistant", "status": status, "content": content}


def _part(text: str) -> Body:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
