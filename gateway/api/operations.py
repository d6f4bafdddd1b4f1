"""Providers, models, configuration and figures in the management API."""

from typing import Any, Literal

from litestar import Controller, get, post
from litestar.params import FromPath
from msgspec import Struct

from gateway.api.desk import AnyDesk, AnyRequest, Desk, Reloaded, note
from gateway.api.figures import Latency, Traffic, latency_of, outcomes_of, traffic_of
from gateway.api.redacted import redacted
from gateway.api.selection import Store
from gateway.api.transcript import rfc3339
from gateway.errors import GatewayError, Kind
from gateway.routing.health import CoolDown, Place, model_of
from gateway.routing.table import Target

State = Literal["ready", "degraded", "cooling", "disabled"]


class Cooling(Struct, frozen=True):
    """A cool-down. `model` is the upstream model, None for all of the credential. `level` counts repetitions.

    `until` is when it is tried again, in so many `seconds`; 0: the next request tries it (it is half-open).
    """

    model: str | None
    reason: str
    level: int
    until: str
    seconds: float
    probing: bool


class CredentialState(Struct, frozen=True):
    """One account at a provider, by its id. `in_flight` are the requests of the worker that answers."""

    id: str
    weight: int
    in_flight: int
    cool_downs: list[Cooling]


class ProviderState(Struct, frozen=True):
    """A provider. Figures are those since the server started, over all of its workers.

    `state`: `degraded` if a part of it cools down, `cooling` if all of it does. `outcomes` counts attempts: `served`
    and kinds of failure. `latency` is of whole replies, from request to end, in seconds.
    """

    name: str
    kind: str
    base_url: str
    state: State
    models: list[str]
    in_flight: int
    credentials: list[CredentialState]
    attempts: int
    errors: int
    outcomes: dict[str, int]
    latency: Latency


class Providers(Struct, frozen=True):
    """Every provider of the configuration."""

    providers: list[ProviderState]


class TargetState(Struct, frozen=True):
    """One way to serve a model. Lower `priority` first."""

    provider: str
    credential: str
    model: str
    priority: int
    weight: int
    ready: bool


class ModelState(Struct, frozen=True):
    """A public model name. `context_tokens` 0 is unknown."""

    name: str
    context_tokens: int
    targets: list[TargetState]


class Models(Struct, frozen=True):
    """Every model of the configuration, wildcards too."""

    models: list[ModelState]


class Configuration(Struct, frozen=True):
    """What is in force: durations in seconds, sizes in bytes, secrets as `***`."""

    config: dict[str, Any]


class Counted(Struct, frozen=True):
    """About how many sessions there are: those used within sessions.ttl. None while the store is away."""

    active: int | None
    store: str


class Stats(Struct, frozen=True):
    """Figures since the server started, over all of its workers; two readings make a rate."""

    at: str
    sessions: Counted
    traffic: Traffic


class Operations(Controller):
    """Providers, models, configuration, figures."""

    path = "/"

    @get("/providers", tags=["providers"])
    async def list_providers(self, desk: AnyDesk) -> Providers:
        """Providers with their state, cool-downs, requests in flight, failures and latency."""
        return Providers([_provider(desk, name) for name in desk.config().providers])

    @post("/providers/{name:str}/disable", status_code=200, tags=["providers"])
    async def disable_provider(self, request: AnyRequest, desk: AnyDesk, name: FromPath[str]) -> ProviderState:
        """No more requests go there, from any worker within a second, until it is enabled; running ones go on."""
        _known(desk, name)
        await desk.book.disable(name)
        note("provider disabled", request, provider=name)
        return _provider(desk, name)

    @post("/providers/{name:str}/enable", status_code=200, tags=["providers"])
    async def enable_provider(self, request: AnyRequest, desk: AnyDesk, name: FromPath[str]) -> ProviderState:
        """Requests may go there again."""
        _known(desk, name)
        await desk.book.enable(name)
        note("provider enabled", request, provider=name)
        return _provider(desk, name)

    @post("/providers/{name:str}/reset", status_code=200, tags=["providers"])
    async def reset_provider(self, request: AnyRequest, desk: AnyDesk, name: FromPath[str]) -> ProviderState:
        """Forget its cool-downs, in every worker within a second."""
        _known(desk, name)
        await desk.fleet.reset(name)
        note("cool-downs reset", request, provider=name)
        return _provider(desk, name)

    @get("/models", tags=["configuration"])
    async def list_models(self, desk: AnyDesk) -> Models:
        """Models and their targets, best priority first."""
        state = desk.fleet.state()
        return Models(
            [
                ModelState(
                    name,
                    model.context_tokens,
                    [_target(target, ready=state.ready(target)) for target in _targets(desk, name)],
                )
                for name, model in desk.config().models.items()
            ]
        )

    @get("/config", tags=["configuration"])
    async def read_config(self, desk: AnyDesk) -> Configuration:
        """The configuration that is in force, without its secrets."""
        return Configuration(redacted(desk.config()))

    @post("/reload", status_code=200, tags=["configuration"])
    async def reload(self, request: AnyRequest, desk: AnyDesk) -> Reloaded:
        """Read the configuration again. What is wrong changes nothing and says why."""
        if desk.reload is None:
            message = "This gateway cannot read its configuration again; restart it."
            raise GatewayError(Kind.UNAVAILABLE, message, code="no_reload")
        done = await desk.reload()
        note("configuration reloaded", request, outcome=done.outcome)
        return done

    @get("/stats", tags=["figures"])
    async def read_stats(self, desk: AnyDesk, store: Store) -> Stats:
        """Sessions and traffic, in sums and by model, provider and owner."""
        now = desk.wall()
        active: int | None
        try:
            active = await store.count(since=int((now - desk.config().sessions.ttl) * 1000))
        except GatewayError:
            active = None
        return Stats(rfc3339(int(now * 1000)), Counted(active, store.name), traffic_of(desk.registry()))


def _known(desk: Desk, name: str) -> None:
    if name not in desk.config().providers:
        message = f"There is no provider {name!r}; GET /providers lists those that there are."
        raise GatewayError(Kind.NOT_FOUND, message, code="provider_not_found")


def _targets(desk: Desk, name: str) -> list[Target]:
    return [target for route in desk.table().routes() if route.name == name for target in route.targets]


def _target(target: Target, *, ready: bool) -> TargetState:
    return TargetState(target.provider, target.credential, target.model, target.priority, target.weight, ready)


def _provider(desk: Desk, name: str) -> ProviderState:
    provider, registry = desk.config().providers[name], desk.registry()
    targets = [target for target in desk.table().targets() if target.provider == name]
    places = {place: cooling for place, cooling in desk.fleet.health.places().items() if place[0] == name}
    seats = {target.credential: target for target in targets}
    outcomes = outcomes_of(registry, name)
    return ProviderState(
        name=name,
        kind=provider.kind,
        base_url=redacted(provider.base_url),
        state=_state(desk, name, targets, places),
        models=sorted({route.name for route in desk.table().routes() for t in route.targets if t.provider == name}),
        in_flight=sum(desk.fleet.load.of(target) for target in seats.values()),
        credentials=[_credential(desk, target, places) for target in seats.values()],
        attempts=sum(outcomes.values()),
        errors=sum(count for outcome, count in outcomes.items() if outcome != "served"),
        outcomes=outcomes,
        latency=latency_of(registry, name),
    )


def _state(desk: Desk, name: str, targets: list[Target], places: dict[Place, CoolDown]) -> State:
    if name in desk.book.disabled:
        return "disabled"
    now, health = desk.clock(), desk.fleet.health
    if targets and all(health.until(target) > now for target in targets):
        return "cooling"
    return "degraded" if any(cooling.until > now for cooling in places.values()) else "ready"


def _credential(desk: Desk, target: Target, places: dict[Place, CoolDown]) -> CredentialState:
    cooling = [
        _cooling(desk, place, known)
        for place, known in sorted(places.items(), key=lambda item: item[0])
        if place[1] == target.credential
    ]
    return CredentialState(target.credential, target.weight, desk.fleet.load.of(target), cooling)


def _cooling(desk: Desk, place: Place, known: CoolDown) -> Cooling:
    now = desk.clock()
    seconds = max(known.until - now, 0.0)
    until = rfc3339(int((desk.wall() + known.until - now) * 1000))
    return Cooling(model_of(place), known.kind.label, known.level, until, round(seconds, 3), known.probing > now)
