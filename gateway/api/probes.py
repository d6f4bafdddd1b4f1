"""Liveness, readiness, metrics: for orchestrators and Prometheus, without a key."""

from collections.abc import Callable

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from gateway.api.work import Work
from gateway.errors import StoreUnavailable
from gateway.sessions.store import SessionStore


def probes(
    work: Work, store: SessionStore | None, registry: Callable[[], CollectorRegistry], needs_store: Callable[[], bool]
) -> list[HTTPRouteHandler]:
    """The three handlers. Liveness depends on nothing; readiness on the store only where nothing is served without."""

    @get("/health/live", sync_to_thread=False, include_in_schema=False)
    def live() -> dict[str, str]:
        return {"status": "ok"}

    @get("/health/ready", include_in_schema=False)
    async def ready() -> Response[dict[str, str]]:
        if work.leaving:
            return Response({"status": "draining"}, status_code=503)
        sessions = "off"
        if store is not None:
            try:
                await store.ping()
                sessions = "ok"
            except StoreUnavailable:
                sessions = "unavailable"
        refused = needs_store() and sessions == "unavailable"
        body = {"status": "unavailable" if refused else "ok", "sessions": sessions}
        return Response(body, status_code=503 if refused else 200)

    @get("/metrics", sync_to_thread=False, include_in_schema=False)
    def metrics() -> Response[bytes]:
        return Response(generate_latest(registry()), media_type=CONTENT_TYPE_LATEST)

    return [live, ready, metrics]
