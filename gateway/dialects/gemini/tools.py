"""Tools and the choice among them, both directions.

Source: https://ai.google.dev/api/caching#Tool
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from gateway.conversation import Tool, ToolCall, ToolChoice
from gateway.dialects.dialect import Encoded
from gateway.dialects.gemini import schemas
from gateway.dialects.gemini.wire import BROKEN, ENCODER, NAME, compact, invalid, items, members, text, value

_INPUT = Raw(b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}')
_NOT_CARRIED = ("behavior", "response", "responseJsonSchema")


def decode_tools(tools: bytes) -> tuple[Tool, ...]:
    """The tools member: each function a tool, each built-in tool one with its JSON in `raw`."""
    return read_tools(tools, set())


def read_tools(tools: bytes, lost: set[str]) -> tuple[Tool, ...]:
    """The same; `lost` gets the names of what only Gemini knows."""
    if not tools or tools == b"null":
        return ()
    found: list[Tool] = []
    for i, each in enumerate(items(tools, "tools")):
        for name, raw in members(each, f"tools[{i}]").items():
            where = f"tools[{i}].{name}"
            if name == "functionDeclarations":
                functions = enumerate(items(raw, where))
                found += [_function(function, f"{where}[{j}]", lost) for j, function in functions]
            else:
                found.append(Tool(name=name, dialect=NAME, raw=Raw(ENCODER.encode({name: Raw(compact(raw))}))))
    return tuple(found)


def _function(raw: Raw, where: str, lost: set[str]) -> Tool:
    found = members(raw, where)
    name = text(found, "name", where)
    if not name:
        raise invalid(f"{where}.name", "a string")
    lost.update(f"tools.functionDeclarations.{member}" for member in _NOT_CARRIED if member in found)
    parameters = found.get("parametersJsonSchema", Raw(b""))
    if "parameters" in found:
        parameters = schemas.to_json_schema(found["parameters"])
    return Tool(name=name, description=text(found, "description", where), parameters=parameters)


def encode_tools(tools: Sequence[Tool]) -> Encoded:
    """The JSON of the tools member.

    A custom tool becomes a function with one string member `input`; its format is told in its description.
    """
    functions = [_declaration(tool) for tool in tools if not tool.dialect]
    own = [tool.raw for tool in tools if tool.dialect == NAME]
    whole: list[Any] = [{"functionDeclarations": functions}, *own] if functions else [*own]
    dropped = {f"tool:{tool.name}" for tool in tools if tool.dialect not in ("", NAME)}
    return Encoded(ENCODER.encode(whole), tuple(sorted(dropped)))


def _declaration(tool: Tool) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool.name}
    description = tool.description
    if tool.custom and bytes(tool.format):
        description = f"{description}\n\nFormat of `input`: {bytes(tool.format).decode()}".strip()
    if description:
        declaration["description"] = description
    schema = _INPUT if tool.custom else schemas.for_gemini(tool.parameters)
    if schema is not None:
        declaration["parametersJsonSchema"] = schema
    return declaration


# ---------------------------------------------------------------- toolConfig


def decode_tool_config(raw: Raw, lost: set[str]) -> ToolChoice | None:
    """The choice of tools; VALIDATED is auto with a stricter grammar. `lost` gets what only Gemini knows."""
    found = members(raw, "toolConfig")
    lost.update(f"toolConfig.{name}" for name in found if name != "functionCallingConfig")
    if "functionCallingConfig" not in found:
        return None
    where = "toolConfig.functionCallingConfig"
    calling = members(found["functionCallingConfig"], where)
    names = value(calling.get("allowedFunctionNames", Raw(b"[]")), list[str], f"{where}.allowedFunctionNames")
    lost.update(f"{where}.{name}" for name in calling if name not in ("mode", "allowedFunctionNames"))
    mode = text(calling, "mode", where).upper()
    if mode == "ANY" and len(names) == 1:
        return ToolChoice("tool", names[0])
    if names:
        lost.add(f"{where}.allowedFunctionNames")
    match mode:
        case "ANY":
            return ToolChoice("required")
        case "NONE":
            return ToolChoice("none")
        case "AUTO" | "VALIDATED":
            return ToolChoice("auto")
        case "" | "MODE_UNSPECIFIED":
            return None
        case _:
            raise invalid(f"{where}.mode", "AUTO, ANY, NONE or VALIDATED")


def encode_tool_choice(choice: ToolChoice) -> dict[str, Any]:
    """The toolConfig member."""
    match choice.mode:
        case "tool":
            config: dict[str, Any] = {"mode": "ANY", "allowedFunctionNames": [choice.name]}
        case "required":
            config = {"mode": "ANY"}
        case "none":
            config = {"mode": "NONE"}
        case "auto":
            config = {"mode": "AUTO"}
    return {"functionCallingConfig": config}


def function_call(call: ToolCall) -> dict[str, Any]:
    """A call as the functionCall member."""
    return {"id": call.id, "name": call.name, "args": arguments_object(call.arguments, custom=call.custom)}


def arguments_object(arguments: str, *, custom: bool) -> Raw:
    """A call's arguments as the object that Gemini wants: nothing is {}, what is no object goes into `input`."""
    if not custom:
        if not arguments.strip():
            return Raw(b"{}")
        try:
            msgspec.json.decode(arguments, type=dict[str, Raw])
            return Raw(compact(arguments.encode()))
        except BROKEN:
            pass
    return Raw(ENCODER.encode({"input": arguments}))
