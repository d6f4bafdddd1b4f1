"""Every instrument, on a registry that is passed in, and the record of an exchange that they observe."""

from bisect import bisect_left
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Literal

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client import Histogram as SingleHistogram

from gateway import __version__
from gateway.config import Prices
from gateway.conversation import Usage
from gateway.errors import Kind
from gateway.routing.prices import cost_of

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
FAST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
BYTES = (1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20)
UPSTREAM_KINDS = (
    Kind.UNAUTHENTICATED, Kind.PAYMENT_REQUIRED, Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.RATE_LIMITED,
    Kind.BAD_GATEWAY, Kind.UNAVAILABLE, Kind.TIMEOUT,
)  # fmt: skip
"""How providers fail."""
MESSAGES = (0, 2, 5, 10, 20, 50, 100, 200, 400, 1000)


class Attempt(Struct, frozen=True, gc=False):
    """One try at a target; `outcome` is `served` or the label of an error kind."""

    provider: str
    credential: str
    model: str
    outcome: str


class Record(Struct, kw_only=True):
    """One exchange, filled in as it goes and observed once at its end.

    Times are in seconds; labels come from configuration only. `model` is the route's configured name. `error` is an
    error kind's label, "" if there was none.
    `first` is the time to the first content, `store` the time spent on the session store, `upstream` on the provider
    that served; `outside` on the client's body, on attempts that failed, and on waiting for a target.
    `estimate` are about the tokens that a provider did not count; `charge` the dollars that a budget counts.
    """

    request_id: str
    dialect: str
    trace_id: str = ""
    key: str = ""
    owner: str = ""
    stream: bool = False
    model: str = ""
    provider: str = ""
    provider_dialect: str = ""
    upstream_model: str = ""
    status: int = 0
    error: str = ""
    message: str = ""
    duration: float = 0.0
    first: float | None = None
    upstream: float = 0.0
    store: float = 0.0
    outside: float = 0.0
    usage: Usage | None = None
    cost: float | None = None
    attempts: list[Attempt] = []
    dropped: tuple[str, ...] = ()
    session: str = ""
    affinity: str = ""
    injected: int = 0
    trimmed: int = 0
    replaced: int = 0
    session_bytes: int = 0
    incomplete: bool = False
    estimate: Usage | None = None
    charge: float = 0.0

    def tried(self, provider: str, credential: str, model: str, outcome: str) -> None:
        """One attempt more."""
        self.attempts.append(Attempt(provider, credential, model, outcome))

    def served(self, usage: Usage | None, upstream: float, *, incomplete: bool) -> None:
        """A provider answered, in so many seconds."""
        self.usage, self.upstream, self.incomplete = usage, upstream, incomplete

    def priced(self, prices: Prices | None, estimate: Usage | None = None) -> None:
        """What it cost in dollars, None where that is unknown; a budget is charged by the `estimate` then."""
        self.cost, self.estimate = cost_of(prices, self.usage), estimate
        self.charge = cost_of(prices, estimate or self.usage) or 0.0


class Histogram(SingleHistogram):
    """The library's own, which can count many values in one step a bucket."""

    def observe_all(self, values: Sequence[float]) -> None:
        """As `observe` of each."""
        if values:
            self._sum.inc(sum(values))
            for bucket, count in Tally([bisect_left(self._upper_bounds, value) for value in values]).items():
                self._buckets[bucket].inc(count)


class Metrics:
    """The instruments. `observe` takes the records of exchanges; several at once cost little more than one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.samplers: list[Callable[[], None]] = []
        self._took: defaultdict[str, list[float]] = defaultdict(list)
        self._stored = Tally[str]()
        self._count_costs(registry)
        whose = ["dialect", "model", "provider"]

        def histogram(name: str, text: str, labels: list[str], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, labels, registry=registry, buckets=buckets)

        def counter(name: str, text: str, labels: list[str]) -> Counter:
            return Counter(name, text, labels, registry=registry)

        self._requests = counter("gateway_requests_total", "Requests by how they ended.", [*whose, "status", "error"])
        self._duration = histogram("gateway_request_duration_seconds", "From request to end of reply.", whose, SECONDS)
        self._overhead = histogram(
            "gateway_overhead_seconds",
            "Time in the gateway itself: not the providers', not the store's, not the client's.",
            [],
            FAST_SECONDS,
        )
        self._attempts = counter(
            "gateway_upstream_attempts_total", "Attempts by outcome.", ["provider", "credential", "outcome"]
        )
        self._failovers = counter(
            "gateway_failovers_total", "Requests served by another than the first target.", ["model"]
        )
        self._dropped = counter(
            "gateway_dropped_fields_total",
            "Members that a translation could not carry.",
            ["dialect", "provider_dialect"],
        )
        self._reloads = counter("gateway_config_reloads_total", "Configurations read again.", ["outcome"])
        self._sessions = counter("gateway_session_requests_total", "Requests with a session by state.", ["state"])
        self._size = histogram("gateway_session_bytes", "What a session held when a turn began.", [], BYTES)
        self._turns = counter("gateway_session_turns_total", "Stored turns.", ["kind"])
        self._affinity = counter("gateway_session_affinity_total", "Where sessions' turns were served.", ["outcome"])
        self._injected = histogram("gateway_session_injected_messages", "History put in front.", [], MESSAGES)
        self._trimmed = counter("gateway_session_trimmed_turns_total", "Turns left out of a full window.", [])
        self._store = histogram(
            "gateway_store_operation_seconds", "Session store operations.", ["operation"], FAST_SECONDS
        )
        self._loads = counter("gateway_session_loads_total", "Sessions read: whole, or only what was new.", ["read"])
        self._store_failures = counter(
            "gateway_store_failures_total", "Failed store operations.", ["operation", "reason"]
        )
        gen_ai = ["gen_ai_provider_name", "gen_ai_request_model"]
        self._tokens = histogram(
            "gen_ai_client_token_usage", "Tokens a request.", [*gen_ai, "gen_ai_token_type"], TOKENS
        )
        self._server = histogram("gen_ai_server_request_duration_seconds", "The provider's time.", gen_ai, SECONDS)
        self._first = histogram("gen_ai_server_time_to_first_token_seconds", "To the first content.", gen_ai, SECONDS)
        self._per_token = histogram(
            "gen_ai_server_time_per_output_token_seconds", "After the first token.", gen_ai, FAST_SECONDS
        )
        self._add_states(registry)
        # Looking up a labelled child costs more than counting; the label sets are few and come from configuration.
        self._of_attempt = lru_cache(1024)(self._attempts.labels)
        self._of_store = lru_cache(64)(self._store.labels)

    def _add_states(self, registry: CollectorRegistry) -> None:
        """What is so now; several workers report the sum, or the highest where all see the same."""

        def gauge(name: str, text: str, *labels: str, mode: Literal["livesum", "livemax"] = "livesum") -> Gauge:
            return Gauge(name, text, labels, registry=registry, multiprocess_mode=mode)

        seat = ("provider", "credential")
        self.active = gauge("gateway_active_requests", "Requests in progress.")
        self.turns = 0
        self._active_turns = gauge("gateway_session_active_turns", "Session turns in progress.")
        self._seen = gauge("gateway_session_seen_bytes", "About what is kept in memory of sessions that were read.")
        self._in_flight = gauge("gateway_upstream_active_requests", "Requests that a credential is serving.", *seat)
        self._cool_downs = Counter(
            "gateway_cool_downs_total",
            "Cool-downs begun by this process, by reason.",
            [*seat, "reason"],
            registry=registry,
        )
        self._cooling = gauge(
            "gateway_cooling_targets", "Targets that are left alone now, by what is known here.", *seat, mode="livemax"
        )
        self._breaker = gauge(
            "gateway_store_breaker_open", "1 while the store is not asked because it failed.", mode="livemax"
        )
        self._unreplicated = Counter(
            "gateway_store_unreplicated_total",
            "Writes that fewer replicas than `wait_replicas` had in time.",
            registry=registry,
        )
        info = gauge("gateway_build_info", "The version, as a label.", "version", mode="livemax")
        info.labels(__version__).set(1)

    def expect(self, seats: Iterable[tuple[str, str]], models: Iterable[str]) -> None:
        """Begin the series of what seldom happens at 0: Prometheus does not see the first step of one that begins at 1.

        `seats` are the configured (provider, credential), `models` the configured names.
        """
        failures = [kind.label for kind in UPSTREAM_KINDS]
        for seat in sorted(set(seats)):
            self._in_flight.labels(*seat)
            self._cooling.labels(*seat)
            for outcome in ("served", *failures):
                self._of_attempt(*seat, outcome)
            for reason in failures:
                self._cool_downs.labels(*seat, reason)
        for outcome in ("applied", "unchanged", "invalid", "restart_needed"):
            self._reloads.labels(outcome)
        for model in models:
            self._failovers.labels(model)
        for state in ("new", "resumed", "replayed", "stateless", "unsaved"):
            self._sessions.labels(state)
        for operation in ("load", "append"):
            self._store_failures.labels(operation, "StoreUnavailable")

    def _count_costs(self, registry: CollectorRegistry) -> None:
        whose = ["model", "provider", "owner"]
        self._cost = Counter("gateway_cost_dollars_total", "What served requests cost.", whose, registry=registry)
        text = "Served requests of unknown cost."
        self._unpriced = Counter("gateway_unpriced_requests_total", text, whose, registry=registry)

    def sample(self) -> None:
        """Ask for what is so now: before somebody reads, and now and then for the other workers' readers."""
        for sampler in self.samplers:
            sampler()
        self._active_turns.set(self.turns)
        self._observe_store()

    def observe(self, records: Sequence[Record]) -> None:
        """Count exchanges."""
        alike: defaultdict[tuple[str, str, str, str], list[Record]] = defaultdict(list)
        for record in records:
            alike[record.dialect, record.model, record.provider, record.owner].append(record)
            if len(record.attempts) > 1 and record.provider:
                self._failovers.labels(record.model).inc()
            if record.dropped:
                self._dropped.labels(record.dialect, record.provider_dialect).inc(len(record.dropped))
        tried = Tally((each.provider, each.credential, each.outcome) for record in records for each in record.attempts)
        for attempt, count in tried.items():
            self._of_attempt(*attempt).inc(count)
        elsewhere = [each.upstream + each.store + each.outside for each in records]
        own = [max(each.duration - spent, 0.0) for each, spent in zip(records, elsewhere, strict=True)]
        self._overhead.observe_all(own)
        self._observe_sessions([record for record in records if record.session])
        self._observe_store()
        for (*whose, owner), group in alike.items():
            self._observe_alike(whose, group)
            if whose[-1]:
                self._observe_served(owner, group)

    def _observe_alike(self, whose: Sequence[str], records: Sequence[Record]) -> None:
        """Requests of one dialect, model and provider, `whose`."""
        for (status, error), count in Tally((record.status, record.error) for record in records).items():
            self._requests.labels(*whose, status, error).inc(count)
        self._duration.labels(*whose).observe_all([record.duration for record in records])

    def _observe_served(self, owner: str, records: Sequence[Record]) -> None:
        """Requests of one owner that were served by one provider for one model."""
        model, provider = records[0].model, records[0].provider
        self._server.labels(provider, model).observe_all([record.upstream for record in records])
        firsts = [record.first for record in records if record.first is not None]
        self._first.labels(provider, model).observe_all(firsts)
        costs = [record.cost for record in records if record.cost is not None]
        if costs:
            self._cost.labels(model, provider, owner).inc(sum(costs))
        if len(costs) < len(records):
            self._unpriced.labels(model, provider, owner).inc(len(records) - len(costs))
        usages = [record.usage for record in records if record.usage is not None]
        for kind in ("input", "output", "cached", "reasoning"):
            if tokens := [tokens for usage in usages if (tokens := getattr(usage, kind))]:
                self._tokens.labels(provider, model, kind).observe_all(tokens)
        self._per_token.labels(provider, model).observe_all(
            [
                max(record.upstream - record.first, 0.0) / (record.usage.output - 1)
                for record in records
                if record.first is not None and record.usage is not None and record.usage.output > 1
            ]
        )

    def _observe_sessions(self, records: Sequence[Record]) -> None:
        """Requests with a session."""
        for state, count in Tally(record.session for record in records).items():
            self._sessions.labels(state).inc(count)
        for outcome, count in Tally(record.affinity for record in records if record.affinity).items():
            self._affinity.labels(outcome).inc(count)
        self._injected.observe_all([record.injected for record in records])
        self._size.observe_all([record.session_bytes for record in records])
        if trimmed := sum(record.trimmed for record in records):
            self._trimmed.inc(trimmed)

    def _observe_store(self) -> None:
        """What the store did since."""
        took, self._took = self._took, defaultdict(list)
        for operation, seconds in took.items():
            self._of_store(operation).observe_all(seconds)
        stored, self._stored = self._stored, Tally()
        for kind, count in stored.items():
            self._turns.labels(kind).inc(count)

    def in_flight(self, provider: str, credential: str, requests: int) -> None:
        """So many requests are with a credential now."""
        self._in_flight.labels(provider, credential).set(requests)

    def cooled(self, provider: str, credential: str, reason: str) -> None:
        """A target is left alone; `reason` is the label of an error kind."""
        self._cool_downs.labels(provider, credential, reason).inc()

    def cooling(self, provider: str, credential: str, targets: int) -> None:
        """So many targets of a credential are left alone now."""
        self._cooling.labels(provider, credential).set(targets)

    def seen(self, whole: int, rest: int, size: int) -> None:
        """So many further sessions were read whole, of so many only what was new; `size` bytes of them are kept."""
        self._loads.labels("whole").inc(whole)
        self._loads.labels("new").inc(rest)
        self._seen.set(size)

    def store_breaker(self, opened: int) -> None:
        """The store is not asked from now on (1), or is asked again (0)."""
        self._breaker.set(opened)

    def unreplicated(self) -> None:
        """A write is in Redis, but not in as many of its replicas as are waited for."""
        self._unreplicated.inc()

    def reloaded(self, outcome: str) -> None:
        """The configuration was read again: `applied`, `unchanged`, `invalid` or `restart_needed`."""
        self._reloads.labels(outcome).inc()

    def stored(self, kind: str) -> None:
        """A turn was stored: `complete`, `incomplete` or `replacing`. Counted with the next records."""
        self._stored[kind] += 1

    def store_took(self, operation: str, seconds: float) -> None:
        """A store operation succeeded. Counted with the next records."""
        self._took[operation].append(seconds)

    def store_failed(self, operation: str, reason: str) -> None:
        """A store operation failed; `reason` is a class name of ours."""
        self._store_failures.labels(operation, reason).inc()
