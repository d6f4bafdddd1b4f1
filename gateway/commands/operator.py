"""The command line of the operator's commands."""

import re
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter, _SubParsersAction
from typing import Final

_WHERE = """
Without --store and --config a running gateway is asked, at --url (or GATEWAY_URL), with the key in
GATEWAY_MANAGEMENT_KEY.
Exit codes: 0 done, 1 it could not be done, 2 a mistake in the arguments or the configuration.
"""

_SESSIONS = """examples:
  gateway sessions list --owner team-a --older-than 7d
  gateway sessions show chat-1
  gateway sessions delete --owner team-a --older-than 30d --dry-run
  gateway sessions export --store ./sessions | gateway sessions import --store redis://localhost:6379/0

Ids belong to owners: where two owners use the same one, --owner (and --user) says which is meant.
"""

_CREATE = """examples:
  gateway sessions create --owner team-a --id faq --messages talk.json
  echo '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]' |
    gateway sessions create --owner team-a --messages -

The messages are those of a request in the API that --dialect names, questions and replies in turn.
"""

_KEYS = """examples:
  gateway keys create team-a --model 'gpt-*' --requests-per-minute 600     prints the key, this once
  gateway keys list
  gateway keys revoke team-a
"""

_PROVIDERS = """examples:
  gateway providers
  gateway providers reset anthropic
  gateway providers disable openai
"""

_STATS = """examples:
  gateway stats
  gateway stats --json | jq .traffic.owners
"""

DIALECTS: Final = ("openai_chat", "openai_responses", "anthropic", "gemini")
LIMITS: Final = {
    "requests_per_minute": int,
    "tokens_per_minute": int,
    "concurrency": int,
    "dollars_per_day": float,
    "dollars_per_month": float,
}

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)?", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}


def seconds(text: str) -> float:
    """A duration, as the configuration writes it or as a number of seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ArgumentTypeError(f"a duration is written 30s, 15m, 24h, 7d or as a number of seconds, not {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


def count(text: str) -> int:
    """A number that is at least 1."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ArgumentTypeError(f"this is a number from 1 on, not {text!r}")
    return int(text)


def add(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """Add `sessions`, `keys`, `providers` and `stats`."""
    sessions = _group(commands, "sessions", "find, read, change, move and delete conversations", _SESSIONS)
    _finding(sessions)
    _changing(sessions)
    _keys(_group(commands, "keys", "make and revoke client keys", _KEYS))
    about = "Whether they are well, their failures and latency; disable, enable, or forget cool-downs."
    providers = _one(commands, "providers", "state of the providers", about + _WHERE, _PROVIDERS)
    providers.add_argument("change", nargs="?", choices=("disable", "enable", "reset"), help="what to do")
    providers.add_argument("provider", nargs="?", help="with which one")
    _common(providers, store=False)
    about = "Requests, tokens and cost since the gateway started, by model, provider and owner."
    _common(_one(commands, "stats", "requests, tokens and cost", about + _WHERE, _STATS), store=False)


def _finding(actions: "_SubParsersAction[ArgumentParser]") -> None:
    listing = _action(actions, "list", "sessions, newest use first")
    _filter(listing)
    listing.add_argument("--limit", type=count, default=50, help="at most so many (default: 50)")
    show = _action(actions, "show", "one conversation")
    show.add_argument("id")
    _whose(show)
    export = _action(actions, "export", "sessions as JSON Lines")
    _filter(export)
    export.add_argument("--output", metavar="FILE", help="default: standard output")
    imported = _action(actions, "import", "sessions from JSON Lines; all are checked before any is written")
    imported.add_argument("--input", metavar="FILE", help="default: standard input")
    about = "what becomes of sessions that are there already (default: refuse, and nothing is imported)"
    imported.add_argument("--existing", choices=("refuse", "skip", "replace"), default="refuse", help=about)
    delete = _action(actions, "delete", "one session, or all that pass a filter")
    delete.add_argument("id", nargs="?", help="one session; a filter means several")
    _filter(delete)
    delete.add_argument("--dry-run", action="store_true", help="only say how many there are")
    delete.add_argument("--all", action="store_true", help="without a filter: everything")
    for action in (listing, show, export, imported, delete):
        _common(action)


def _changing(actions: "_SubParsersAction[ArgumentParser]") -> None:
    create = _one(
        actions, "create", "make a session, with messages or without; prints its id", "Make a session.", _CREATE
    )
    create.add_argument("--owner", required=True, help="whose it is")
    create.add_argument("--user", help="the owner's end user")
    create.add_argument("--id", dest="new_id", help="its id (default: made)")
    create.add_argument("--messages", metavar="FILE", help="a JSON array of messages; - for standard input")
    create.add_argument("--dialect", choices=DIALECTS, default="openai_chat", help="whose messages they are")
    create.add_argument("--ttl", type=seconds, metavar="DURATION", help="how long it lives (default: sessions.ttl)")
    create.add_argument("--pin", metavar="PROVIDER", help="the provider of its next turns")
    fork = _action(actions, "fork", "a session of its own of the turns up to one; prints its id")
    fork.add_argument("--at", type=int, dest="new_at", help="the last turn of it (default: the newest)")
    fork.add_argument("--id", dest="new_id", help="its id (default: made)")
    drop = _action(actions, "drop", "take the newest turns back")
    drop.add_argument("--last", type=count, default=1, help="so many of them (default: 1)")
    pin = _action(actions, "pin", "choose the provider of a session's next turns")
    extend = _action(actions, "extend", "let a session live longer")
    context = _action(actions, "context", "set what you want to remember of a session")
    for action in (fork, drop, pin, extend, context):
        action.add_argument("id")
        _whose(action)
    pin.add_argument("provider", help="a provider, or none")
    extend.add_argument("ttl", type=seconds, metavar="DURATION", help="from now on, such as 7d")
    context.add_argument("context", metavar="JSON", help='an object, such as \'{"ticket": "A-118"}\'')
    for action in (create, fork, drop, pin, extend, context):
        _common(action)


def _keys(actions: "_SubParsersAction[ArgumentParser]") -> None:
    listing = _action(actions, "list", "client keys, without the keys themselves")
    create = _action(actions, "create", "make a key, and print it this once")
    create.add_argument("id", help="appears in logs")
    create.add_argument("--owner", help="whose the sessions are (default: the id)")
    create.add_argument("--model", action="append", metavar="PATTERN", help="what it may ask for, again for more")
    create.add_argument("--mode", choices=("history", "affinity", "off"), default="history", help="of its sessions")
    for name, kind in LIMITS.items():
        create.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help="at most so many")
    revoke = _action(actions, "revoke", "take a key out of force, everywhere within a second")
    revoke.add_argument("id")
    for action in (listing, create, revoke):
        _common(action)


def _action(actions: "_SubParsersAction[ArgumentParser]", name: str, about: str) -> ArgumentParser:
    return actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")


def _group(
    commands: "_SubParsersAction[ArgumentParser]", name: str, short: str, epilog: str
) -> "_SubParsersAction[ArgumentParser]":
    group = _one(commands, name, short, short.capitalize() + "." + _WHERE, epilog)
    return group.add_subparsers(dest="action", metavar="<action>", title="actions", required=True)


def _one(
    commands: "_SubParsersAction[ArgumentParser]", name: str, short: str, about: str, epilog: str
) -> ArgumentParser:
    return commands.add_parser(
        name, help=short, description=about, epilog=epilog, formatter_class=RawDescriptionHelpFormatter
    )


def _whose(action: ArgumentParser) -> None:
    action.add_argument("--owner", help="whose session")
    action.add_argument("--user", help="the owner's end user")


def _filter(action: ArgumentParser) -> None:
    _whose(action)
    action.add_argument("--provider", help="the preferred provider, or that of the last turn")
    action.add_argument("--model", help="the upstream model of the last turn")
    action.add_argument("--newer-than", type=seconds, metavar="DURATION", help="last used at most so long ago, as 24h")
    action.add_argument("--older-than", type=seconds, metavar="DURATION", help="last used at least so long ago, as 7d")


def _common(action: ArgumentParser, *, store: bool = True) -> None:
    action.add_argument("--url", help="the gateway (default: GATEWAY_URL, else http://127.0.0.1:8080)")
    if store:
        action.add_argument("--store", metavar="DIR|redis://...", help="this store itself, without a gateway")
        action.add_argument("--config", metavar="FILE", help="the store of this configuration, with its encryption")
    action.add_argument("--json", action="store_true", help="an answer for programs")
