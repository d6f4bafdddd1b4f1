"""What a request cost. Unknown is unknown, never zero."""

from gateway.config import Prices
from gateway.conversation import Usage

MILLION = 1_000_000


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
