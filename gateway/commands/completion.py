"""`gateway completion`: a script that teaches a shell the commands, their options and their values."""

from argparse import ArgumentParser, Namespace, _SubParsersAction
from typing import Any

import shtab

from gateway.commands.arguments import parser
from gateway.commands.tables import say

_FILES = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY, "DIR|redis://...": shtab.DIRECTORY}


def run(arguments: Namespace) -> int:
    """Print the script for a shell; returns the exit code."""
    whole = parser()
    _name_files(whole)
    say(shtab.complete(whole, arguments.shell))
    return 0


def _name_files(command: ArgumentParser) -> None:
    """Where a file or a directory is asked for, the shell offers those that there are."""
    for action in command._actions:  # noqa: SLF001 - argparse has no other way to them
        if isinstance(action, _SubParsersAction):
            for inner in action.choices.values():
                _name_files(inner)
        elif action.metavar in _FILES:
            named: Any = action
            named.complete = _FILES[action.metavar]
