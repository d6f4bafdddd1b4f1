"""What the limits of client keys have to say to Prometheus. The labels are ids of keys, which operators give."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.config import KeyLimits
from gateway.fleet.bucket import LIMITS
from gateway.fleet.budget import BILLION


class Meters:
    """The instruments."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = Counter(
            "gateway_limit_refusals_total",
            "Requests refused by a limit of their client key.",
            ["key", "limit"],
            registry=registry,
        )
        self._budget, self._spent = (
            Gauge(name, text, ["key", "period"], registry=registry, multiprocess_mode="livemax")
            for name, text in (
                ("gateway_budget_dollars", "What a client key may spend in a day or a month."),
                ("gateway_budget_spent_dollars", "What it has spent of that, by what is known here."),
            )
        )

    def refused(self, key: str, limit: int) -> None:
        """A request was refused, by a limit of LIMITS."""
        self._refused.labels(key, LIMITS[limit]).inc()

    def spent(self, key: str, limits: KeyLimits, amounts: tuple[int, int]) -> None:
        """What a key has spent in this day and in this month, in billionths of a dollar."""
        budgets = (limits.dollars_per_day, limits.dollars_per_month)
        for period, budget, amount in zip(("day", "month"), budgets, amounts, strict=True):
            if budget:
                self._budget.labels(key, period).set(budget)
                self._spent.labels(key, period).set(amount / BILLION)
