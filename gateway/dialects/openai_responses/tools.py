"""Tools and the choice among them.

A custom tool takes free text; elsewhere it is a function with one string member `input`. Tools in a `namespace` are
functions with flat names elsewhere. The vendor takes a function without `strict` for a strict one, other vendors do
not: so `strict` is always written.
"""

from collections.abc import Sequence

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import Decoder

from gateway.conversation import Tool, ToolChoice
from gateway.dialects.dialect import Encoded
from gateway.dialects.openai_responses.names import flat, split
from gateway.dialects.openai_responses.wire import ITEMS, NAME, TEXT, TYPED, dump, is_text, json, present, read

_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Raw = Raw(b"")
    strict: bool | None = None


class _Custom(Struct):
    name: str
    description: str | None = None
    format: Raw = Raw(b"")


class _Namespace(Struct):
    name: str
    tools: list[Raw]


class _Choice(Struct):
    type: str
    name: str | None = None
    mode: str | None = None
    tools: list["_Choice"] | UnsetType = UNSET


_FUNCTION = Decoder(_Function)
_CUSTOM = Decoder(_Custom)
_NAMESPACE = Decoder(_Namespace)
_CHOICE = Decoder(_Choice)


def decode_tools(tools: bytes) -> tuple[Tool, ...]:
    """The tools member; those in a namespace with flat names. Raises GatewayError (INVALID)."""
    if not present(Raw(tools)):
        return ()
    found: list[Tool] = []
    raws = read(ITEMS, tools, "tools")
    for number, raw in enumerate(raws):
        found += _decode_tool(raw, f"tools[{number}]")
    return tuple(found)


def _decode_tool(raw: Raw, where: str, namespace: str = "") -> list[Tool]:
    kind = read(TYPED, raw, where).type or ""
    match kind:
        case "function":
            tool = read(_FUNCTION, raw, where)
            parameters = tool.parameters if present(tool.parameters) else Raw(b"")
            return [
                Tool(
                    name=flat(namespace, tool.name) if namespace else tool.name,
                    description=tool.description or "",
                    parameters=Raw(bytes(parameters)),
                    strict=tool.strict,
                )
            ]
        case "custom":
            custom = read(_CUSTOM, raw, where)
            name = flat(namespace, custom.name) if namespace else custom.name
            form = Raw(bytes(custom.format)) if present(custom.format) else Raw(b"")
            return [Tool(name=name, description=custom.description or "", custom=True, format=form)]
        case "namespace" if not namespace:
            space = read(_NAMESPACE, raw, where)
            inner = enumerate(space.tools)
            return [tool for n, nested in inner for tool in _decode_tool(nested, f"{where}.tools[{n}]", space.name)]
        case _:
            return [Tool(name=kind, dialect=NAME, raw=Raw(bytes(raw)))]


def encode_tools(tools: Sequence[Tool]) -> Encoded:
    """The JSON of the tools member; tools that only another dialect knows are left out and named."""
    wire: list[object] = []
    spaces: dict[str, list[object]] = {}
    dropped: set[str] = set()
    for tool in tools:
        if tool.dialect:
            if tool.dialect == NAME:
                wire.append(tool.raw)
            else:
                dropped.add(f"tool:{tool.name}")
            continue
        namespace, name = split(tool.name)
        if namespace and namespace not in spaces:
            spaces[namespace] = []
            description = f"Tools of {namespace}."  # required, and not kept in a flat tool
            space = {"type": "namespace", "name": namespace, "description": description, "tools": spaces[namespace]}
            wire.append(space)
        (spaces[namespace] if namespace else wire).append(_encode_tool(tool, name))
    return Encoded(dump(wire), tuple(sorted(dropped)))


def _encode_tool(tool: Tool, name: str) -> dict[str, object]:
    wire: dict[str, object] = {"type": "custom" if tool.custom else "function", "name": name}
    if tool.description:
        wire["description"] = tool.description
    if tool.custom:
        return wire | ({"format": tool.format} if bytes(tool.format) else {})
    parameters = tool.parameters if bytes(tool.parameters) else _NO_PARAMETERS
    return wire | {"parameters": parameters, "strict": bool(tool.strict)}


class Chosen(Struct, frozen=True):
    """A tool choice, and the tools it leaves. `lost`: it names a tool that no other dialect can be made to call."""

    choice: ToolChoice | None
    tools: tuple[Tool, ...]
    lost: bool = False


def decode_choice(raw: Raw | None, tools: tuple[Tool, ...]) -> Chosen:
    """The tool_choice member. `allowed_tools` leaves only those. Raises GatewayError (INVALID)."""
    if raw is None or not present(raw):
        return Chosen(None, tools)
    if is_text(raw):
        return Chosen(_mode(read(TEXT, raw, "tool_choice")), tools)
    choice = read(_CHOICE, raw, "tool_choice")
    match choice:
        case _Choice(type="function" | "custom", name=str(name)):
            return Chosen(ToolChoice("tool", _full_name(name, tools)), tools)
        case _Choice(type="allowed_tools", mode=mode, tools=list(allowed)):
            names = {_full_name(one.name or one.type, tools) for one in allowed}
            return Chosen(_mode(mode or "auto"), tuple(tool for tool in tools if tool.name in names))
        case _:
            return Chosen(None, tools, lost=True)


def _mode(text: str) -> ToolChoice:
    match text:
        case "none" | "required":
            return ToolChoice(text)
        case _:
            return ToolChoice("auto")


def _full_name(name: str, tools: tuple[Tool, ...]) -> str:
    known = [tool.name for tool in tools]
    return name if name in known else next((full for full in known if split(full)[1] == name), name)


def encode_choice(choice: ToolChoice, tools: Sequence[Tool]) -> Raw:
    """The tool_choice member; `tools` tell whether the chosen one is custom."""
    if choice.mode != "tool":
        return json(choice.mode)
    custom = any(tool.custom and tool.name == choice.name for tool in tools)
    return json({"type": "custom" if custom else "function", "name": split(choice.name)[1]})


class Known(Struct, frozen=True):
    """What a client's tools are called: flat names that were cut, and the names of custom tools."""

    spaces: dict[str, tuple[str, str]]
    custom: frozenset[str]

    def split(self, name: str) -> tuple[str, str]:
        """Namespace ("" for none) and name of a tool."""
        return self.spaces.get(name) or split(name)


def known_tools(tools: Raw | None) -> Known:
    """What a reply to this client must know of its tools; nothing is decoded where they are all plain functions."""
    whole = b"" if tools is None else bytes(tools)
    if b'"custom"' not in whole and b'"namespace"' not in whole:
        return Known({}, frozenset())
    spaces: dict[str, tuple[str, str]] = {}
    for raw in read(ITEMS, whole, "tools"):
        if read(TYPED, raw, "tools").type == "namespace":
            space = read(_NAMESPACE, raw, "tools")
            for nested in space.tools:
                name = read(_FUNCTION, nested, "tools").name
                spaces[flat(space.name, name)] = (space.name, name)
    return Known(spaces, frozenset(tool.name for tool in decode_tools(whole) if tool.custom))
