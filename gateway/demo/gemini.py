"""Gemini generateContent: https://ai.google.dev/api/generate-content. Members are read in both spellings."""

import json
from collections.abc import Iterator

from gateway.demo.mind import Answer, Ask, Heard, Offered, Schema, words
from gateway.demo.wire import BadRequest, Body, frame, items, text_of

_STATUS = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND"}


def read(body: Body) -> Ask:
    """The request; `model` and `stream` were put in from the path. Raises BadRequest."""
    contents = items(body.get("contents"))
    if not contents:
        raise BadRequest("contents is not specified")
    system = _either(body, "systemInstruction", "system_instruction")
    mode, names = _mode(body)
    return Ask(
        model=str(body.get("model", "demo")),
        stream=bool(body.get("stream")),
        heard=tuple(map(_heard, contents)),
        system=text_of(system.get("parts")) if isinstance(system, dict) else "",
        tools=tuple(_tools(body)),
        choice=names[0] if names else {"ANY": "required", "NONE": "none"}.get(mode, "auto"),
        schema=_schema(body),
    )


def whole(ask: Ask, answer: Answer, answer_id: str, now: int) -> Body:  # noqa: ARG001 - this format has no date
    """The whole reply."""
    part: Body = {"text": answer.text}
    if answer.tool:
        part = {"functionCall": {"name": answer.tool, "args": json.loads(answer.arguments)}}
    return _reply(ask, answer, answer_id, part, last=True)


def stream(ask: Ask, answer: Answer, answer_id: str, now: int) -> Iterator[bytes]:
    """The reply as frames of a stream (`alt=sse`)."""
    pieces = words(answer.text)
    for word in pieces[:-1]:
        yield frame(_reply(ask, answer, answer_id, {"text": word}, last=False))
    if answer.tool:
        yield frame(whole(ask, answer, answer_id, now))
    else:
        yield frame(_reply(ask, answer, answer_id, {"text": pieces[-1] if pieces else ""}, last=True))


def error(status: int, message: str) -> Body:
    """An error."""
    return {"error": {"code": status, "message": message, "status": _STATUS.get(status, "INTERNAL")}}


def _either(body: Body, *names: str) -> object:
    return next((body[name] for name in names if name in body), None)


def _heard(content: Body) -> Heard:
    parts = items(content.get("parts"))
    images = sum(_either(part, "inlineData", "inline_data", "fileData", "file_data") is not None for part in parts)
    results = []
    for part in parts:
        result = _either(part, "functionResponse", "function_response")
        if isinstance(result, dict):
            results.append(_told(result.get("response")))
    role = "assistant" if content.get("role") == "model" else "user"
    return Heard(role, text_of(parts), images, tuple(results))


def _told(response: object) -> str:
    if isinstance(response, dict) and len(response) == 1:
        only = next(iter(response.values()))
        return only if isinstance(only, str) else json.dumps(only)
    return json.dumps(response)


def _tools(body: Body) -> Iterator[Offered]:
    for tool in items(body.get("tools")):
        for declared in items(_either(tool, "functionDeclarations", "function_declarations")):
            names = ("parametersJsonSchema", "parameters_json_schema", "parameters")
            schema = _either(declared, *names)
            yield Offered(str(declared.get("name", "")), schema if isinstance(schema, dict) else {})


def _mode(body: Body) -> tuple[str, list[str]]:
    config = _either(body, "toolConfig", "tool_config")
    calling = _either(config, "functionCallingConfig", "function_calling_config") if isinstance(config, dict) else None
    if not isinstance(calling, dict):
        return "AUTO", []
    names = _either(calling, "allowedFunctionNames", "allowed_function_names")
    return str(calling.get("mode", "AUTO")).upper(), names if isinstance(names, list) else []


def _schema(body: Body) -> Schema | None:
    config = _either(body, "generationConfig", "generation_config")
    if not isinstance(config, dict):
        return None
    schema = _either(
        config, "responseJsonSchema", "response_json_schema", "responseSchema", "response_schema", "_responseJsonSchema"
    )
    return schema if isinstance(schema, dict) else None


def _reply(ask: Ask, answer: Answer, answer_id: str, part: Body, *, last: bool) -> Body:
    output = answer.output if last else 1
    candidate: Body = {"content": {"role": "model", "parts": [part]}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    usage = {"promptTokenCount": answer.input, "candidatesTokenCount": output, "totalTokenCount": answer.input + output}
    if answer.cached:
        usage["cachedContentTokenCount"] = answer.cached
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": ask.model, "responseId": answer_id}
