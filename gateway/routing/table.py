"""Which models exist and by which targets each is served; built from the configuration, once."""

from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import sha256

from msgspec import Struct
from msgspec.structs import replace

from gateway import config
from gateway.conversation import Origin
from gateway.routing.adjust import Adjust

DIALECT_OF: dict[config.ProviderKind, str] = {
    "openai": "openai_chat",
    "openai-responses": "openai_responses",
    "anthropic": "anthropic",
    "gemini": "gemini",
}

ACCOUNT = "account:"
_RESOLVED_LIMIT = 1024


class Target(Struct, frozen=True, kw_only=True, dict=True):
    """One way to serve a model: an upstream model at a provider, by one of its credentials.

    `moving_key`: the key is not `key`, but what a file or a command says now. `account` begins with ACCOUNT and is
    another one with another key, so that a new key is not held responsible for the old one.
    """

    provider: str
    credential: str
    model: str
    dialect: str
    key: str = ""
    priority: int = 0
    weight: int = 1
    prices: config.Prices | None = None
    context_tokens: int = 0
    max_output_tokens: int = 0
    concurrency: int = 0
    adjust: Adjust | None = None
    cache_hints: bool = True
    moving_key: bool = False
    account: str = ACCOUNT

    @cached_property
    def origin(self) -> Origin:
        """Who will have made the reply."""
        return Origin(self.provider, self.model)

    @cached_property
    def seat(self) -> tuple[str, str]:
        """What affinity is to: prompt caches are per account."""
        return self.provider, self.credential


class Route(Struct, frozen=True):
    """A public model name and its targets, best priority first; `strategy` orders equals."""

    name: str
    targets: tuple[Target, ...]
    strategy: config.Strategy = "round-robin"


class Table:
    """Finds the route of a model name: an exact one, or the wildcard with the longest prefix."""

    def __init__(self, configuration: config.Config) -> None:
        self._exact: dict[str, Route] = {}
        self._wildcards: list[Route] = []
        self._resolved: dict[str, Route] = {}
        for name, model in configuration.models.items():
            targets = sorted(_ranked(_targets(configuration, model)), key=lambda target: target.priority)
            route = Route(name, tuple(targets), configuration.routing.strategy)
            if name.endswith("*"):
                self._wildcards.append(route)
            else:
                self._exact[name] = route
        self._wildcards.sort(key=lambda route: -len(route.name))
        self._add_fallbacks(configuration)

    def find(self, model: str) -> Route | None:
        """The route of a model name, or None."""
        return self._exact.get(model) or self._resolved.get(model) or self._resolve(model)

    def names(self) -> Iterator[str]:
        """The public names that can be listed: wildcards cannot."""
        return iter(self._exact)

    def routes(self) -> Iterator[Route]:
        """Every configured route, wildcards last."""
        yield from self._exact.values()
        yield from self._wildcards

    def targets(self) -> Iterator[Target]:
        """Every configured target; a wildcard's model is still `*`."""
        for route in (*self._exact.values(), *self._wildcards):
            yield from route.targets

    def _add_fallbacks(self, configuration: config.Config) -> None:
        """Behind a model's own targets come those of its fallbacks, and of theirs, each model once."""
        whole = {
            name: replace(route, targets=self._with_fallbacks(configuration, name, route.targets))
            for name, route in (*self._exact.items(), *((route.name, route) for route in self._wildcards))
            if configuration.models[name].fallbacks
        }
        self._exact.update((name, whole[name]) for name in self._exact if name in whole)
        self._wildcards = [whole.get(route.name, route) for route in self._wildcards]
        self._resolved.clear()

    def _with_fallbacks(
        self, configuration: config.Config, name: str, targets: tuple[Target, ...]
    ) -> tuple[Target, ...]:
        seen, waiting, found = {name}, list(configuration.models[name].fallbacks), list(targets)
        while waiting:
            fallback = waiting.pop(0)
            route = self.find(fallback)
            if route is None or fallback in seen:
                continue
            seen.add(fallback)
            waiting = [*configuration.models[route.name].fallbacks, *waiting]
            worst = max((target.priority for target in found), default=-1)
            best = min((target.priority for target in route.targets), default=0)
            tried = {(target.seat, target.model) for target in found}
            found += [
                replace(target, priority=target.priority - best + worst + 1)
                for target in route.targets
                if (target.seat, target.model) not in tried
            ]
        return tuple(found)

    def _resolve(self, model: str) -> Route | None:
        for route in self._wildcards:
            prefix = route.name[:-1]
            if model.startswith(prefix) and len(model) > len(prefix):
                return self._remember(model, route, model[prefix.rfind("/") + 1 :])
        return None

    def _remember(self, model: str, route: Route, matched: str) -> Route:
        targets = tuple(replace(target, model=target.model.replace("*", matched)) for target in route.targets)
        if len(self._resolved) >= _RESOLVED_LIMIT:  # the name is a client's: never keep without limit
            self._resolved.clear()
        self._resolved[model] = Route(route.name, targets, route.strategy)
        return self._resolved[model]


def credentials_of(name: str, provider: config.Provider) -> Iterator[tuple[str, config.Credential]]:
    """A provider's credentials in use, with their ids; one without a key where none is configured."""
    for i, entry in enumerate(provider.keys or ("",)):
        credential = config.Credential(key=entry) if isinstance(entry, str) else entry
        if credential.enabled:
            yield credential.id or f"{name}-{i + 1}", credential


def may_use(models: Collection[str], model: str) -> bool:
    """Whether a client key's list of model patterns admits a model."""
    return "*" in models or any(pattern == model or fnmatchcase(model, pattern) for pattern in models)


def _ranked(targets: Iterable[tuple[Target, int]]) -> Iterator[Target]:
    """The targets with their own priorities; where credentials have priorities too, numbered by both."""
    found = list(targets)
    ranks = sorted({(target.priority, second) for target, second in found})
    for target, second in found:
        plain = all(rank[1] == 0 for rank in ranks)
        yield target if plain else replace(target, priority=ranks.index((target.priority, second)))


def _targets(configuration: config.Config, model: config.Model) -> Iterator[tuple[Target, int]]:
    """Each with the priority of its credential."""
    adjust = Adjust.of(model.defaults, model.overrides)
    for target in model.targets:
        provider = configuration.providers[target.provider]
        if not provider.enabled:
            continue
        for id, credential in credentials_of(target.provider, provider):
            made = Target(
                provider=target.provider,
                credential=id,
                model=target.model,
                dialect=DIALECT_OF[provider.kind],
                key=credential.key,
                account=ACCOUNT + sha256(credential.key.encode()).hexdigest()[:8] if credential.key else ACCOUNT,
                moving_key=bool(credential.file or credential.command),
                priority=target.priority,
                weight=target.weight * credential.weight,
                prices=target.prices or model.prices,
                context_tokens=model.context_tokens,
                max_output_tokens=model.max_output_tokens,
                concurrency=credential.concurrency,
                adjust=adjust,
                cache_hints=provider.cache_hints,
            )
            yield made, credential.priority
