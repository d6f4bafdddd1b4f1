"""Reading the configuration for a command: file, GATEWAY_* variables, flags, in this order."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from gateway.config import Config, ConfigError, from_environment, override, parse

FILE_VARIABLE = "GATEWAY_CONFIG"


class CommandFailed(Exception):
    """The command cannot go on; the message is for the person at the terminal. `code` is the exit code."""

    code = 1


class WrongArguments(CommandFailed):
    """What was said on the command line cannot be meant."""

    code = 2


def chosen_file(arguments: Namespace, environ: Mapping[str, str]) -> Path | None:
    """The file named by --config or GATEWAY_CONFIG, None if there is none."""
    name = arguments.config or environ.get(FILE_VARIABLE)
    return Path(name).expanduser() if name else None


def read(path: Path) -> str:
    """The text of the file. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: this is not a text file in UTF-8.") from None
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror or exc}.") from None


def load(arguments: Namespace, environ: Mapping[str, str]) -> Config:
    """The whole configuration. Raises ConfigError, with the file's name in front."""
    path = chosen_file(arguments, environ)
    if path is None:
        return override(from_environment(environ), {**environ, **_flags(arguments)})
    text = read(path)
    try:
        return override(parse(text, environ), {**environ, **_flags(arguments)})
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc}") from None


def _flags(arguments: Namespace) -> dict[str, str]:
    """Flags are the strongest GATEWAY_* variables."""
    names = ("host", "port", "workers")
    given = {name: getattr(arguments, name, None) for name in names}
    return {f"GATEWAY_{name.upper()}": str(value) for name, value in given.items() if value is not None}
