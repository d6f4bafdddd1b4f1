"""The command line of the operator's commands."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter, _SubParsersAction

_WHERE = """
Without --store and --config a running gateway is asked, at --url, with the key in GATEWAY_MANAGEMENT_KEY.
Exit codes: 0 done, 1 it could not be done, 2 a mistake in the arguments or the configuration.
"""

_SESSIONS = """examples:
  gateway sessions list --owner team-a --older-than 604800
  gateway sessions show chat-1
  gateway sessions delete --owner team-a --dry-run
  gateway sessions export --store ./sessions | gateway sessions import --store redis://localhost:6379/0
"""

_KEYS = """examples:
  gateway keys create team-a --model 'gpt-*'     prints the key, this once
  gateway keys list
  gateway keys revoke team-a
"""

_PROVIDERS = """examples:
  gateway providers
  gateway providers reset anthropic
  gateway providers disable openai
"""


def add(commands: "_SubParsersAction[ArgumentParser]") -> None:
    """Add `sessions`, `keys` and `providers`."""
    sessions = _group(commands, "sessions", "find, read, move and delete conversations", _SESSIONS)
    _sessions(sessions)
    keys = _group(commands, "keys", "make and revoke client keys", _KEYS)
    _common(keys.add_parser("list", help="client keys, without the keys themselves"))
    create = keys.add_parser("create", help="make a key, and print it this once")
    create.add_argument("id", help="appears in logs")
    create.add_argument("--owner", help="whose the sessions are (default: the id)")
    create.add_argument("--model", action="append", metavar="PATTERN", help="what it may ask for, again for more")
    create.add_argument("--mode", choices=("history", "affinity", "off"), default="history", help="of its sessions")
    _common(create)
    revoke = keys.add_parser("revoke", help="take a key out of force, everywhere within a second")
    revoke.add_argument("id")
    _common(revoke)
    providers = commands.add_parser(
        "providers",
        help="state of the providers",
        description="State, failures and latency of the providers." + _WHERE,
        epilog=_PROVIDERS,
        formatter_class=RawDescriptionHelpFormatter,
    )
    providers.add_argument("change", nargs="?", choices=("disable", "enable", "reset"), help="what to do")
    providers.add_argument("provider", nargs="?", help="with which one")
    _common(providers, store=False)


def _sessions(actions: "_SubParsersAction[ArgumentParser]") -> None:
    listing = actions.add_parser("list", help="sessions, newest use first")
    _filter(listing)
    listing.add_argument("--limit", type=int, default=50, help="at most so many (default: 50)")
    show = actions.add_parser("show", help="one conversation")
    export = actions.add_parser("export", help="sessions as JSON Lines")
    _filter(export)
    export.add_argument("--output", metavar="FILE", help="default: standard output")
    imported = actions.add_parser("import", help="sessions from JSON Lines; all are checked before any is written")
    imported.add_argument("--input", metavar="FILE", help="default: standard input")
    imported.add_argument("--existing", choices=("refuse", "skip", "replace"), default="refuse")
    delete = actions.add_parser("delete", help="one session, or all that pass a filter")
    delete.add_argument("id", nargs="?")
    _filter(delete)
    delete.add_argument("--dry-run", action="store_true", help="only say how many there are")
    delete.add_argument("--all", action="store_true", help="without a filter: everything")
    fork = actions.add_parser("fork", help="a session of its own of the turns up to one; prints its id")
    fork.add_argument("--at", type=int, dest="new_at", help="the last turn of it (default: the newest)")
    fork.add_argument("--id", dest="new_id", help="its id (default: made)")
    pin = actions.add_parser("pin", help="choose the provider of a session's next turns")
    for action in (show, fork, pin):
        action.add_argument("id")
        _whose(action)
    pin.add_argument("provider", help="a provider, or none")
    for action in (listing, show, export, imported, delete, fork, pin):
        _common(action)


def _group(
    commands: "_SubParsersAction[ArgumentParser]", name: str, short: str, epilog: str
) -> "_SubParsersAction[ArgumentParser]":
    group = commands.add_parser(
        name,
        help=short,
        description=short.capitalize() + "." + _WHERE,
        epilog=epilog,
        formatter_class=RawDescriptionHelpFormatter,
    )
    return group.add_subparsers(dest="action", metavar="<action>", title="actions", required=True)


def _whose(action: ArgumentParser) -> None:
    action.add_argument("--owner", help="whose session")
    action.add_argument("--user", help="the owner's end user")


def _filter(action: ArgumentParser) -> None:
    _whose(action)
    action.add_argument("--provider", help="the preferred provider, or that of the last turn")
    action.add_argument("--model", help="the upstream model of the last turn")
    action.add_argument("--newer-than", type=float, metavar="SECONDS", help="last used at most so long ago")
    action.add_argument("--older-than", type=float, metavar="SECONDS", help="last used at least so long ago")


def _common(action: ArgumentParser, *, store: bool = True) -> None:
    action.add_argument("--url", help="the gateway (default: GATEWAY_URL, else http://127.0.0.1:8080)")
    if store:
        action.add_argument("--store", metavar="DIR|redis://...", help="this store itself, without a gateway")
        action.add_argument("--config", metavar="FILE", help="the store of this configuration, with its encryption")
    action.add_argument("--json", action="store_true", help="an answer for programs")
