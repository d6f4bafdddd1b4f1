"""What a request cost. Unknown is unknown, never zero."""

import re

from msgspec.structs import replace

from gateway.config import Prices
from gateway.conversation import Usage
from gateway.errors import GatewayError, Kind
from gateway.routing.table import Route

MILLION = 1_000_000
BYTES_A_TOKEN = 4
MEDIA_TOKENS = 1000
"""About what an image, or a page of a document, costs with any vendor."""

_MEDIA = re.compile(rb"[A-Za-z0-9+/=_-]{2048,}")
"""An image or a file in a request: base64, in every dialect."""


def cost_of(prices: Prices | None, usage: Usage | None) -> float | None:
    """Dollars; None if there is no price, or the provider told no tokens."""
    if prices is None or usage is None:
        return None
    written = prices.input if prices.cache_write is None else prices.cache_write
    cached = prices.input if prices.cached is None else prices.cached
    reasoning = prices.output if prices.reasoning is None else prices.reasoning
    prompt = max(usage.input - usage.cached - usage.cache_write, 0)
    told = max(usage.output - usage.reasoning, 0)
    dollars = (
        prompt * prices.input
        + usage.cached * cached
        + usage.cache_write * written
        + told * prices.output
        + usage.reasoning * reasoning
    )
    return dollars / MILLION


def estimated(counted: Usage | None, body: bytes, said: int) -> Usage:
    """About the tokens of a request that the provider has not counted to its end: a quarter of what was sent and said.

    What it has `counted` of the prompt holds. `body` is the request as it got it, `said` the size of its reply.
    """
    usage = counted or Usage()
    if not usage.input:
        text, media = _MEDIA.subn(b"", body)
        usage = replace(usage, input=media * MEDIA_TOKENS + len(text) // BYTES_A_TOKEN)
    return replace(usage, output=max(usage.output, said // BYTES_A_TOKEN))


def priced(route: Route) -> Route:
    """The same without targets of unknown price, for client keys with a budget. Raises GatewayError (FORBIDDEN)."""
    targets = tuple(target for target in route.targets if target.prices is not None)
    if not targets:
        message = (
            f"{route.name!r} has no prices, and this API key has a budget; "
            "the operator can give it prices, 0 for what is free."
        )
        raise GatewayError(Kind.FORBIDDEN, message, param="model", code="model_unpriced")
    return route if len(targets) == len(route.targets) else replace(route, targets=targets)
