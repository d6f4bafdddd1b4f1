"""Tools and how they are chosen, both directions."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder

from gateway.conversation import Prompt, Tool, ToolChoice
from gateway.dialects.anthropic.models import Abilities
from gateway.dialects.anthropic.schemas import tool_schema
from gateway.dialects.anthropic.wire import FIELDS, ITEMS, NAME, Readable, ToolChoiceParam, ToolParam, encode, read
from gateway.dialects.dialect import Encoded
from gateway.errors import GatewayError, Kind

_TOOL = Decoder(ToolParam)
_CHOICE = Decoder(ToolChoiceParam)
_OWN = {"name", "type", "description", "input_schema", "strict"}
_FREE_TEXT = Raw(b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}')


def decode_tools(tools: bytes) -> tuple[Tool, ...]:
    """The tools; those the vendor runs or defines itself keep their JSON."""
    return read_tools(tools, set())


def read_tools(tools: bytes | Raw, lost: set[str]) -> tuple[Tool, ...]:
    """The same; `lost` collects the names of members that only this dialect knows."""
    if bytes(tools) in (b"", b"null"):
        return ()
    raws = read(ITEMS, tools, "tools")
    with Readable("tools"):
        return tuple(_tool(raw, f"tools.{index}", lost) for index, raw in enumerate(raws))


def _tool(raw: Raw, where: str, lost: set[str]) -> Tool:
    tool = read(_TOOL, raw, where)
    if tool.type not in (None, "custom"):
        return Tool(name=tool.name or str(tool.type), dialect=NAME, raw=raw)
    if not tool.name:
        raise GatewayError(Kind.INVALID, f"{where}.name: a tool needs a name.", param=f"{where}.name")
    lost |= {name if name == "cache_control" else f"tools.{name}" for name in FIELDS.decode(raw).keys() - _OWN}
    return Tool(
        name=tool.name,
        description=tool.description or "",
        parameters=tool.input_schema,
        strict=tool.strict,
    )


def encode_tools(tools: Sequence[Tool]) -> Encoded:
    """The way back.

    A custom tool (OpenAI) becomes a function with one string, `input`. `strict` is left out and reported: here it
    refuses schemas and numbers of tools that other vendors accept. A top-level anyOf, oneOf or allOf is taken out.
    """
    dropped: set[str] = set()
    blocks = [block for tool in tools if (block := _encoded(tool, dropped)) is not None]
    return Encoded(encode(blocks), tuple(sorted(dropped)))


def _encoded(tool: Tool, dropped: set[str]) -> dict[str, Any] | Raw | None:
    if tool.dialect == NAME:
        return tool.raw
    if tool.dialect:
        dropped.add(f"tool:{_type_of(tool)}")
        return None
    schema, combined = (_FREE_TEXT, "") if tool.custom else tool_schema(tool.parameters)
    dropped |= {f"tools.parameters.{combined}"} if combined else set()
    dropped |= {"tools.strict"} if tool.strict else set()
    dropped |= {"tools.format"} if bytes(tool.format) else set()
    described = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "input_schema": schema}


def _type_of(tool: Tool) -> str:
    try:
        return read(_TOOL, tool.raw, "tool").type or tool.name
    except GatewayError:
        return tool.name


def read_choice(raw: Raw) -> tuple[ToolChoice | None, bool | None]:
    """`tool_choice`, and whether calls may be parallel."""
    choice = read(_CHOICE, raw, "tool_choice")
    parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    match choice.type:
        case "auto":
            return ToolChoice("auto"), parallel
        case "none":
            return ToolChoice("none"), parallel
        case "any":
            return ToolChoice("required"), parallel
        case "tool" if choice.name:
            return ToolChoice("tool", choice.name), parallel
    raise GatewayError(Kind.INVALID, "tool_choice: it is auto, any, none, or a tool by name.", param="tool_choice")


def written_choice(prompt: Prompt, abilities: Abilities, tools: list[Raw], dropped: set[str]) -> dict[str, Any] | None:
    """`tool_choice` for a provider, or None; the vendor refuses it where there are no tools.

    Where a model cannot be forced, or the tool is not there, it may choose itself.
    """
    choice = prompt.tool_choice
    if not tools:
        if choice and choice.mode in ("required", "tool"):
            dropped.add("tool_choice")
        return None
    offered = {read(_TOOL, tool, "tools").name for tool in tools}
    mode = choice.mode if choice else "auto"
    if mode in ("required", "tool") and (not abilities.forced or (choice and choice.name not in {"", *offered})):
        dropped.add("tool_choice")
        mode = "auto"
    written: dict[str, Any] = {"type": {"required": "any"}.get(mode, mode)}
    if mode == "tool" and choice:
        written["name"] = choice.name
    if prompt.parallel_tool_calls is not None and mode != "none" and (choice or not prompt.parallel_tool_calls):
        written["disable_parallel_tool_use"] = not prompt.parallel_tool_calls
    return written if choice or len(written) > 1 else None
