"""Figures for operators, read from the instruments of all workers."""

from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample


class Latency(Struct, frozen=True):
    """Seconds; None before the first reply. `p50` and `p95` are estimated from the histogram's buckets."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None


class Sums(Struct, frozen=True):
    """What one model, provider or owner had. `cost` is in dollars, None if no price is known.

    `unpriced` are the requests whose cost is unknown: then `cost` leaves them out.
    """

    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    unpriced: int = 0


class Spent(Struct, frozen=True):
    """What an owner's served requests cost, in dollars: None if no price is known. `unpriced` ones are left out."""

    cost: float | None = None
    unpriced: int = 0


class Traffic(Struct, frozen=True):
    """Requests in progress and so far. A request that no provider served counts in no provider's sums.

    `owners` is what each owner of client keys has spent.
    """

    active: int
    total: Sums
    latency: Latency
    models: dict[str, Sums]
    providers: dict[str, Sums]
    owners: dict[str, Spent]


def latency_of(registry: CollectorRegistry, provider: str) -> Latency:
    """How long a provider's replies took."""
    name = "gen_ai_server_request_duration_seconds"
    return _latency([s for s in _samples(registry, name) if s.labels.get("gen_ai_provider_name") == provider], name)


def outcomes_of(registry: CollectorRegistry, provider: str) -> dict[str, int]:
    """A provider's attempts by how they ended."""
    found: dict[str, int] = defaultdict(int)
    for sample in _samples(registry, "gateway_upstream_attempts"):
        if sample.name.endswith("_total") and sample.labels["provider"] == provider:
            found[sample.labels["outcome"]] += int(sample.value)
    return {outcome: count for outcome, count in sorted(found.items()) if count}


def traffic_of(registry: CollectorRegistry) -> Traffic:
    """Everything that the instruments say about requests."""
    active = sum(int(sample.value) for sample in _samples(registry, "gateway_active_requests"))
    name = "gateway_request_duration_seconds"
    return Traffic(
        active=active,
        total=_sums(registry, None).get("", Sums()),
        latency=_latency(list(_samples(registry, name)), name),
        models=_sums(registry, "model"),
        providers=_sums(registry, "provider"),
        owners={name: Spent(sums.cost, sums.unpriced) for name, sums in _sums(registry, "owner").items()},
    )


def _samples(registry: CollectorRegistry, family: str) -> Iterator[Sample]:
    for metric in registry.collect():
        if metric.name == family:
            yield from metric.samples


_TOKENS = {"model": "gen_ai_request_model", "provider": "gen_ai_provider_name"}


class _Adding:
    """Sums of one name, being made."""

    def __init__(self) -> None:
        self.requests = self.errors = self.unpriced = 0
        self.tokens = {"input": 0, "output": 0}
        self.cost: float | None = None

    def sums(self) -> Sums:
        return Sums(self.requests, self.errors, self.tokens["input"], self.tokens["output"], self.cost, self.unpriced)


def _sums(registry: CollectorRegistry, by: str | None) -> dict[str, Sums]:
    """By the value of a label, or all under ""."""
    found: dict[str, _Adding] = defaultdict(_Adding)
    for metric in registry.collect():
        for sample in metric.samples:
            label = _TOKENS.get(by or "") if metric.name == "gen_ai_client_token_usage" else by
            if by is None or sample.labels.get(label or ""):
                _add(found["" if by is None else sample.labels[label or ""]], sample) if _counts(sample) else None
    return {name: adding.sums() for name, adding in sorted(found.items())}


_COUNTED = (
    "gateway_requests_total",
    "gen_ai_client_token_usage_sum",
    "gateway_cost_dollars_total",
    "gateway_unpriced_requests_total",
)


def _counts(sample: Sample) -> bool:
    return sample.name in _COUNTED


def _add(adding: _Adding, sample: Sample) -> None:
    match sample.name:
        case "gateway_requests_total":
            adding.requests += int(sample.value)
            adding.errors += int(sample.value) if sample.labels["error"] else 0
        case "gen_ai_client_token_usage_sum":
            kind = sample.labels["gen_ai_token_type"]
            if kind in adding.tokens:
                adding.tokens[kind] += int(sample.value)
        case "gateway_cost_dollars_total":
            adding.cost = (adding.cost or 0.0) + sample.value
        case _:
            adding.unpriced += int(sample.value)


def _latency(samples: list[Sample], name: str) -> Latency:
    buckets: dict[float, float] = defaultdict(float)
    count = total = 0.0
    for sample in samples:
        if sample.name == f"{name}_bucket":
            buckets[float(sample.labels["le"])] += sample.value
        elif sample.name == f"{name}_count":
            count += sample.value
        elif sample.name == f"{name}_sum":
            total += sample.value
    if not count:
        return Latency(0, None, None, None)
    quantiles = [_quantile(sorted(buckets.items()), share * count) for share in (0.5, 0.95)]
    return Latency(int(count), round(total / count, 6), *quantiles)


def _quantile(buckets: list[tuple[float, float]], rank: float) -> float:
    """Where the observation of this rank is, evenly spread within its bucket."""
    below, before = 0.0, 0.0
    for bound, sum_ in buckets:
        if sum_ >= rank:
            if bound == float("inf"):
                return below
            return round(below + (bound - below) * (rank - before) / (sum_ - before), 6)
        below, before = bound, sum_
    return below
