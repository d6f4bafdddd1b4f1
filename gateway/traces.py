"""OpenTelemetry traces: one span an exchange, one an attempt, after the conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/ and, of the exchange, the one for HTTP servers. The
context of the client (https://www.w3.org/TR/trace-context/) is taken up and passed on. What spans say comes from the
record of the exchange: no message content, no keys. OpenTelemetry is imported only where traces are on.
"""

import asyncio
from collections.abc import Mapping
from threading import Thread
from time import time_ns
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway import __version__
from gateway.config import ConfigError, Tracing
from gateway.metrics import Record
from gateway.routing.table import Target

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    Attributes = dict[str, AttributeValue]

PATH = "/v1/traces"
CLOSING = 3.0
"""Seconds for the last spans to reach the collector at a stop."""
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/messages/count_tokens": "count_tokens",
    "/v1/responses/input_tokens": "count_tokens",
}
_METHODS = {"streamGenerateContent": "generate_content", "countTokens": "count_tokens"}
_VENDORS = {"openai_chat": "openai", "openai_responses": "openai", "anthropic": "anthropic", "gemini": "gcp.gemini"}
"""The conventions' names of who speaks a dialect; the configured name is `gateway.provider`."""


class Traces:
    """Makes the spans of one worker and sends them to a collector in the background.

    Raises ConfigError without the extra `otel`.
    """

    def __init__(self, settings: Tracing) -> None:
        try:
            from opentelemetry import trace  # noqa: PLC0415 - an extra
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415
        except ImportError:
            message = "tracing.endpoint: install the extra `otel` of this package, or set OTEL_SDK_DISABLED=true."
            raise ConfigError(message) from None

        # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER say what the settings leave open.
        ours = Resource.create({"service.name": "remembering-gateway", "service.version": __version__})
        sampler = None if settings.sample is None else ParentBased(TraceIdRatioBased(settings.sample))
        self._provider = TracerProvider(sampler, ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint_of(settings.endpoint), headers=settings.headers or None)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.start = self._provider.get_tracer("gateway", __version__).start_span
        self.propagator = TraceContextTextMapPropagator()
        self.kinds, self.error, self.within = trace.SpanKind, trace.StatusCode.ERROR, trace.set_span_in_context

    def begin(self, headers: Mapping[str, str], path: str) -> "Trace":
        """An exchange begins. `headers` have lower-case names."""
        return Trace(self, headers, path)

    async def close(self) -> None:
        """Send the last spans; they are given up when the collector does not take them."""
        closing = Thread(target=self._provider.shutdown, daemon=True)  # the interpreter waits for no daemon
        closing.start()
        await asyncio.to_thread(closing.join, CLOSING)


class Trace:
    """The spans of one exchange. `conversation` is the id of its session, if it has one."""

    def __init__(self, of: Traces, headers: Mapping[str, str], path: str) -> None:
        self._of, self._path = of, path
        self._route, self._operation = route_of(path)
        self._span = of.start(f"POST {self._route}", of.propagator.extract(headers), of.kinds.SERVER)
        self._context = of.within(self._span)
        self._attempts: list[Span] = []
        self._began: list[int] = []
        self.conversation = ""

    @property
    def id(self) -> str:
        """The trace's, as collectors show it; also of one that is not sampled."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def attempt(self, target: Target) -> dict[str, str]:
        """A target is tried. The headers that let the provider's own spans belong to this trace."""
        of, headers = self._of, dict[str, str]()
        if not self._span.is_recording():
            of.propagator.inject(headers, self._context)
            return headers
        about: Attributes = {
            "gen_ai.operation.name": self._operation,
            "gen_ai.provider.name": _VENDORS.get(target.dialect, target.dialect),
            "gen_ai.request.model": target.model,
            "gateway.provider": target.provider,
            "gateway.credential": target.credential,
        }
        if self.conversation:
            about["gen_ai.conversation.id"] = self.conversation
        self._began.append(now := time_ns())
        span = of.start(f"{self._operation} {target.model}", self._context, of.kinds.CLIENT, about, start_time=now)
        self._attempts.append(span)
        of.propagator.inject(headers, of.within(span))
        return headers

    def end(self, record: Record) -> None:
        """The exchange is over: `record` says the rest."""
        if not self._span.is_recording():
            return
        outcomes = [attempt.outcome for attempt in record.attempts]
        outcomes += [""] * (len(self._attempts) - len(outcomes))  # broken off, or a count
        for span, outcome, until in zip(self._attempts, outcomes, [*self._began[1:], time_ns()], strict=False):
            self._tell(span, outcome, record)
            span.end(until)  # one that failed ended when the next began
        self._span.set_attributes(_exchange(record, self._route, self._path, self.conversation))
        if record.status >= 500:  # noqa: PLR2004 - below, it is the client's fault
            self._span.set_status(self._of.error)
        self._span.end()

    def _tell(self, span: "Span", outcome: str, record: Record) -> None:
        served = outcome == "served"
        error = record.error if served or not outcome else outcome
        if error:
            span.set_attribute("error.type", error)
            span.set_status(self._of.error)
        if served:
            span.set_attributes(_reply(record))


def _reply(record: Record) -> "Attributes":
    about: Attributes = {"gen_ai.request.stream": record.stream}
    if record.first is not None:
        about["gen_ai.response.time_to_first_chunk"] = record.first
    if record.cost is not None:
        about["gateway.cost.dollars"] = record.cost
    if record.usage is not None:
        about["gen_ai.usage.input_tokens"] = record.usage.input
        about["gen_ai.usage.output_tokens"] = record.usage.output
        about["gen_ai.usage.cache_read.input_tokens"] = record.usage.cached
        about["gen_ai.usage.cache_creation.input_tokens"] = record.usage.cache_write
        about["gen_ai.usage.reasoning.output_tokens"] = record.usage.reasoning
    return about


def _exchange(record: Record, route: str, path: str, conversation: str) -> "Attributes":
    about: Attributes = {
        "http.request.method": "POST",
        "http.route": route,
        "url.path": path,
        "http.response.status_code": record.status,
        "gateway.request.id": record.request_id,
        "gateway.dialect": record.dialect,
        "gateway.model": record.model,
        "gateway.key": record.key,
        "gateway.owner": record.owner,
        "gateway.attempts": len(record.attempts),
        "gateway.store.duration": record.store,
    }
    if record.error:
        about["error.type"] = record.error
    if record.session:
        about["gateway.session.state"] = record.session
        about["gateway.session.injected"] = record.injected
        about["gateway.session.trimmed"] = record.trimmed
    if conversation:
        about["gen_ai.conversation.id"] = conversation
    return about


def route_of(path: str) -> tuple[str, str]:
    """The route of a path and the conventions' name for what is asked there; no word of the client's is in either."""
    plain = path.rstrip("/")
    if plain in _OPERATIONS:
        return plain, _OPERATIONS[plain]
    method = plain.rpartition(":")[2]
    method = method if method in _METHODS else "generateContent"
    return f"/v1beta/models/{{model}}:{method}", _METHODS.get(method, "generate_content")


def endpoint_of(url: str) -> str:
    """Where spans go: as with OTEL_EXPORTER_OTLP_ENDPOINT the collector's address is enough."""
    return url if urlsplit(url).path.rstrip("/").endswith(PATH) else url.rstrip("/") + PATH
