"""What a configuration becomes. A reload puts another setup in its place, whole; a running exchange keeps its own."""

from msgspec import Struct

from gateway.api.auth import Callers
from gateway.ask import Gateway
from gateway.config import Config


class Setup(Struct, frozen=True, kw_only=True):
    """Everything about serving that a reload may change."""

    config: Config
    gateway: Gateway
    callers: Callers


class Current(Struct):
    """The setup that is in force: whoever serves a request asks once, at its beginning."""

    setup: Setup
