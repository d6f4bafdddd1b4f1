"""The `gateway` command. Arguments and environment are read here, and nowhere else."""

import os
import sys
from argparse import Namespace
from collections.abc import MutableMapping, Sequence

from gateway.commands.arguments import parser
from gateway.commands.load import CommandFailed
from gateway.config import ConfigError


def main() -> int:
    """What the installed command and `python -m gateway` run; returns the exit code."""
    return run(sys.argv[1:], os.environ)


def run(argv: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Run one command: 0 if it went well, 1 if it could not, 2 for a mistake in the configuration or the arguments."""
    whole = parser()
    arguments = whole.parse_args(argv)
    try:
        if arguments.command is None:
            whole.print_help()
            return 0
        return _command(arguments, environ)
    except ConfigError as exc:
        return _fail(str(exc), 2)
    except CommandFailed as exc:
        return _fail(str(exc), exc.code)
    except BrokenPipeError:  # as of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is buffered for nobody must not fail once more at the end
        return 1
    except KeyboardInterrupt:
        return 130


def _command(arguments: Namespace, environ: MutableMapping[str, str]) -> int:
    """Each command is imported when it is asked for: `check` and `--help` need no server."""
    match arguments.command:
        case "serve":
            from gateway.commands import serve  # noqa: PLC0415

            return serve.run(arguments, environ)
        case "demo":
            from gateway.commands import demo  # noqa: PLC0415

            return demo.run(arguments)
        case "sessions" | "keys" | "providers" | "stats":
            from gateway.commands import manage  # noqa: PLC0415

            return manage.run(arguments, environ)
        case "completion":
            from gateway.commands import completion  # noqa: PLC0415

            return completion.run(arguments)
        case _:
            from gateway.commands import check  # noqa: PLC0415

            return check.run(arguments, environ)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"gateway: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
