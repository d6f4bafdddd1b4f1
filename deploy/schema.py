"""Writes the gateway's own settings into the chart's values.schema.json: `python deploy/schema.py`.

The schema of `config` follows from the structs in gateway/config.py; the rest of the file is written by hand.
"""

import json
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

from gateway.config import Config, Duration, Size

FILE = Path(__file__).parent / "helm" / "gateway" / "values.schema.json"

Schema = dict[str, Any]

_VARIABLE = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"
_SECRET: Schema = {"type": "string", "pattern": rf"^({_VARIABLE})?$", "description": "A secret: only ${NAME}."}
_SECRETS = re.compile(r"key|.*_key|(.*_)?password|(.*_)?secret|(.*_)?token")
_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": ["boolean", "string"], "pattern": f"^{_VARIABLE}$"},  # ${NAME} may stand for any value
    int: {"type": ["integer", "string"], "pattern": f"^{_VARIABLE}$"},
    float: {"type": ["number", "string"], "pattern": f"^{_VARIABLE}$"},
    Duration: {"type": "string", "pattern": rf"^([0-9]+([.][0-9]+)?(ms|s|m|h|d)|{_VARIABLE})$"},
    Size: {"type": ["string", "integer"], "pattern": rf"^([0-9]+(B|KiB|MiB|GiB)?|{_VARIABLE})$"},
    NoneType: {"type": "null"},
    Any: {},
}
_NAMED: Schema = {  # header and query values are plain, but for those whose name says otherwise
    "type": "object",
    "patternProperties": {"(?i)(auth|key|token|secret|cookie)": {"type": "string", "pattern": _VARIABLE}},
    "additionalProperties": {"type": "string"},
}
_COUNTED: Schema = {"type": "string", "pattern": "^[0-9]+([.][0-9]+)?(ms|s|m|h|d)$"}  # the chart adds them up
_SPECIAL: dict[tuple[str, str], Schema | None] = {
    ("Server", "host"): None,  # the chart sets these itself: nobody may think to have set them
    ("Server", "port"): None,
    ("Management", "port"): None,  # the chart's management.port: it needs a Service too
    ("Sessions", "file"): None,
    ("Server", "shutdown_delay"): _COUNTED,
    ("Server", "shutdown_grace"): _COUNTED,
    ("Provider", "headers"): _NAMED,
    ("Provider", "query"): _NAMED,
    ("Tracing", "headers"): _NAMED,
    ("Provider", "keys"): {"type": "array", "items": {"anyOf": [_SECRET, {"$ref": "#/definitions/Credential"}]}},
    ("RedisSessions", "url"): {
        "type": "string",
        "pattern": r"^[^@]*$|://[^:@]*@|://[^:@]*:\$\{[^@]*@|^\$\{",
        "description": "No password here: use redis.existingSecret, or ${NAME}.",
    },
}


def main() -> None:
    """Rewrite the file."""
    FILE.write_text(rendered(FILE.read_text()))


def rendered(text: str) -> str:
    """The file's text with today's settings."""
    schema = json.loads(text)
    found: dict[str, Schema] = {}
    schema["properties"]["config"] = _of(Config, found)
    schema["definitions"] = dict(sorted(found.items()))
    return json.dumps(schema, indent=2) + "\n"


def _of(kind: Any, found: dict[str, Schema]) -> Schema:  # noqa: ANN401 - types are values here
    arguments = [argument for argument in get_args(kind) if argument is not ...]
    if isinstance(kind, type) and issubclass(kind, Struct):
        _add(kind, found)
        return {"$ref": f"#/definitions/{kind.__name__}"}
    match get_origin(kind):
        case None:
            return dict(_PLAIN[kind])
        case origin if origin is Literal:
            return {"enum": arguments}
        case origin if origin in (Union, UnionType):
            return {"anyOf": [_of(argument, found) for argument in arguments]}
        case origin if origin is dict:
            return {"type": "object", "additionalProperties": _of(arguments[1], found)}
        case _:
            return {"type": "array", "items": _of(arguments[0], found)}


def _add(struct: type[Struct], found: dict[str, Schema]) -> None:
    if struct.__name__ in found:
        return
    mine = found[struct.__name__] = {"type": "object", "additionalProperties": False, "properties": {}}
    hints = get_type_hints(struct)
    for name in struct.__struct_fields__:
        kind = _of(hints[name], found)
        given = _SPECIAL.get((struct.__name__, name), dict(_SECRET) if _is_secret(name, hints[name]) else kind)
        if given is not None:
            mine["properties"][name] = given
    required = struct.__struct_fields__[: len(struct.__struct_fields__) - len(struct.__struct_defaults__)]
    mine |= {"required": list(required)} if required else {}


def _is_secret(name: str, kind: object) -> bool:
    return kind is str and _SECRETS.fullmatch(name) is not None


if __name__ == "__main__":
    main()
