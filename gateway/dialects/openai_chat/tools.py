"""Tools and the choice among them, both ways, with the legacy `functions` and `function_call`."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from gateway.conversation import Tool, ToolCall, ToolChoice
from gateway.dialects.custom import custom_input
from gateway.dialects.dialect import Encoded
from gateway.dialects.openai_chat.wire import (
    NAME,
    CustomTool,
    FunctionTool,
    WireTool,
    encode,
    invalid,
    present,
    read,
    to_fields,
    to_raws,
    without_nones,
)


class _Named(Struct):
    name: str


class _Allowed(Struct):
    mode: str = "auto"
    tools: list[WireTool] = []


class _Choice(Struct):
    type: str = ""
    function: _Named | None = None
    custom: _Named | None = None
    allowed_tools: _Allowed | None = None


_to_tool = msgspec.json.Decoder(WireTool)
_to_functions = msgspec.json.Decoder(list[FunctionTool])
_to_choice = msgspec.json.Decoder(str | _Choice)
_to_function_call = msgspec.json.Decoder(str | _Named)
_to_type = msgspec.json.Decoder(_Choice)


def tools_member(fields: dict[str, Raw]) -> bytes:
    """The JSON of the tools member; legacy functions in the form of tools; b"" for neither."""
    tools = present(fields, "tools")
    if tools is not None:
        return bytes(tools)
    functions = present(fields, "functions")
    if functions is None:
        return b""
    declared = read(to_raws, functions, "functions")
    return encode([{"type": "function", "function": raw} for raw in declared])


def is_legacy(fields: dict[str, Raw]) -> bool:
    """Whether the client knows only `functions`, and so must be answered with `function_call`."""
    return "functions" in fields and "tools" not in fields


def decode_tools(tools: bytes) -> tuple[Tool, ...]:
    """The tools member."""
    if not tools:
        return ()
    declared = read(to_raws, tools, "tools")
    return tuple(_decode_tool(raw, f"tools[{i}]") for i, raw in enumerate(declared))


def _decode_tool(raw: Raw, param: str) -> Tool:
    match read(_to_tool, raw, param):
        case WireTool(type="custom", custom=CustomTool() as custom):
            form = _flat_format(custom.format)
            return Tool(name=custom.name, description=custom.description or "", custom=True, format=form)
        case WireTool(type="function", function=FunctionTool() as function):
            return Tool(
                name=function.name,
                description=function.description or "",
                parameters=_copy(function.parameters),
                strict=function.strict,
            )
        case WireTool(type="function" | "custom" as kind):
            raise invalid(f"{param}.{kind} is missing.", param)
        case WireTool(type=kind):
            return Tool(name=kind, dialect=NAME, raw=_copy(raw))


def custom_names(fields: dict[str, Raw]) -> frozenset[str]:
    """The names of the client's custom tools, which other vendors call as functions."""
    tools = fields.get("tools")
    if tools is None or b'"custom"' not in bytes(tools):
        return frozenset()
    return frozenset(tool.name for tool in decode_tools(bytes(tools)) if tool.custom)


def as_custom(call: ToolCall, custom: frozenset[str]) -> ToolCall:
    """A whole call as the client knows its tool."""
    if call.custom or call.name not in custom:
        return call
    return replace(call, custom=True, arguments=custom_input(call.arguments))


def _flat_format(raw: Raw) -> Raw:
    """A grammar without the level that only Chat puts around it: the form that all dialects share."""
    form = _copy(raw)
    if bytes(form):
        members = read(to_fields, form, "tools: the format")
        grammar = members.pop("grammar", None)
        if grammar is not None:
            return Raw(encode(members | read(to_fields, grammar, "tools: the grammar")))
    return form


def _copy(raw: Raw) -> Raw:
    return Raw(b"") if bytes(raw) == b"null" else Raw(bytes(raw))


def encode_tools(tools: Sequence[Tool]) -> Encoded:
    """The JSON of the tools member; a tool that only another dialect knows is left out and named."""
    out: list[Any] = []
    dropped: set[str] = set()
    for tool in tools:
        if tool.dialect == NAME:
            out.append(tool.raw)
        elif tool.dialect:
            dropped.add(f"tool:{_type_of(tool)}")
        elif tool.custom:
            out.append({"type": "custom", "custom": _custom(tool)})
        else:
            out.append({"type": "function", "function": _function(tool)})
    return Encoded(encode(out), tuple(sorted(dropped)))


def _type_of(tool: Tool) -> str:
    try:
        return _to_type.decode(tool.raw).type or tool.name
    except msgspec.MsgspecError:
        return tool.name


def _function(tool: Tool) -> dict[str, Any]:
    return without_nones(
        name=tool.name,
        description=tool.description or None,
        parameters=tool.parameters if bytes(tool.parameters) else None,
        strict=tool.strict,
    )


def _custom(tool: Tool) -> dict[str, Any]:
    form: Any = tool.format if bytes(tool.format) else None
    if form is not None:
        members = read(to_fields, form, f"tools: the format of {tool.name}")
        if "definition" in members:  # Chat has a grammar one level deeper
            kind = members.pop("type", Raw(b'"grammar"'))
            form = {"type": kind, "grammar": members}
    return without_nones(name=tool.name, description=tool.description or None, format=form)


def decode_choice(fields: dict[str, Raw]) -> tuple[ToolChoice | None, frozenset[str] | None]:
    """The choice, and the names of the tools it allows if it allows only some."""
    legacy = present(fields, "function_call")
    raw = present(fields, "tool_choice")
    if raw is None and legacy is None:
        return None, None
    if raw is None and legacy is not None:
        called = read(_to_function_call, legacy, "function_call")
        return (_mode(called, "function_call") if isinstance(called, str) else ToolChoice("tool", called.name)), None
    match read(_to_choice, raw or b"null", "tool_choice"):
        case str(mode):
            return _mode(mode, "tool_choice"), None
        case _Choice(function=_Named(name=name)) | _Choice(custom=_Named(name=name)):
            return ToolChoice("tool", name), None
        case _Choice(allowed_tools=_Allowed(mode=mode, tools=tools)):
            named = (tool.function or tool.custom for tool in tools)
            return _mode(mode, "tool_choice.allowed_tools.mode"), frozenset(tool.name for tool in named if tool)
    raise invalid("tool_choice names no tool.", "tool_choice")


def _mode(mode: str, param: str) -> ToolChoice:
    match mode:
        case "auto" | "none" | "required":
            return ToolChoice(mode)
        case "any":  # Mistral's word
            return ToolChoice("required")
    raise invalid(f"{param}: there is no choice {mode!r}.", param)


def encode_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Any:  # noqa: ANN401 - a JSON value
    """The `tool_choice` member."""
    if choice.mode != "tool":
        return choice.mode
    custom = any(tool.custom and tool.name == choice.name for tool in tools)
    kind = "custom" if custom else "function"
    return {"type": kind, kind: {"name": choice.name}}
