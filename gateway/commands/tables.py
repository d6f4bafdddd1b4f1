"""Answers for people and for programs: tables, or JSON."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.commands.load import CommandFailed


def say(text: str) -> None:
    """A line of the command's answer."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise CommandFailed("Nobody reads the answer any more.") from None


def say_json(value: Any) -> None:  # noqa: ANN401 - JSON
    """The answer for a program."""
    say(msgspec.json.format(msgspec.json.encode(value)).decode())


def say_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell."""
    cells = [tuple("-" if cell is None or cell == "" else _printable(str(cell)) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for row in (heads, *cells):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def listed(arguments: Namespace, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Rows as a table, or with --json as they are."""
    if arguments.json:
        say_json(rows)
    else:
        say_table([name.upper() for name in columns], [[row.get(name) for name in columns] for row in rows])


def told(arguments: Namespace, answer: object, text: str) -> None:
    """A line, or with --json the whole answer."""
    if arguments.json:
        say_json(answer)
    else:
        say(text)


def progress(text: str, *, done: bool = False) -> None:
    """How far long work is, for a person who looks on; nothing if standard error is no terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}" + ("\n" if done else ""))
        sys.stderr.flush()


def _printable(text: str) -> str:
    """What a client chose to call things must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
