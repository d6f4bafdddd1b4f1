"""OpenTelemetry traces: what a collector gets, and what the providers are told."""

import gzip
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.commands.check import summary
from gateway.config import Config, ConfigError, Tracing, override, parse
from gateway.logs import secrets_in
from gateway.traces import Traces, endpoint_of, route_of
from tests.processes import Running, provider, running, until
from tests.scripted import Say, Scripted, Seen

CONFIG = """
server: {{host: 127.0.0.1, port: PORT}}
auth: {{mode: none}}
sessions: {{file: {{directory: "{folder}"}}}}
providers:
  first: {{kind: openai, base_url: "{first}/v1", keys: [one]}}
  second: {{kind: anthropic, base_url: "{second}", keys: [{{key: two, id: spare}}]}}
models:
  both: {{targets: [{{provider: first, model: a}}, {{provider: second, model: b, priority: 1}}]}}
  first: {{targets: [{{provider: first, model: a}}]}}
  second: {{targets: [{{provider: second, model: b}}], prices: {{input: 1, output: 2}}}}
"""
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "a word that nobody may find"
SERVER, CALL = 2, 3
"""The kinds of spans, as OTLP numbers them."""


@dataclass
class Span:
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    start: int
    end: int
    failed: bool
    about: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """A receiver of OTLP over HTTP."""

    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        self.headers = headers
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [spoken(span, resource) for span in scope.spans]

    def of(self, trace: str, count: int) -> list[Span]:
        """The spans of a trace, by their start, once so many are there."""
        until(lambda: sum(span.trace == trace for span in self.spans) >= count)
        return sorted((span for span in self.spans if span.trace == trace), key=lambda span: span.start)


def values(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


def spoken(span: Any, resource: dict[str, Any]) -> Span:
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    times = (span.start_time_unix_nano, span.end_time_unix_nano)
    return Span(span.name, span.kind, *ids, *times, span.status.code == 2, values(span.attributes), resource)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                found.take(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@dataclass
class World:
    gateway: Running
    first: Scripted
    second: Scripted

    def ask(self, model: str, **headers: str) -> str:
        return post(self.gateway, model, **headers)


def post(gateway: Running, model: str, *, stream: bool = False, **headers: str) -> str:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": SECRET}]}
    sent = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(f"{gateway.url}/v1/chat/completions", json.dumps(body).encode(), sent)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def unwell(_: Seen) -> Say:
    return Say(status=503, wait=0.05)


def talkative(_: Seen) -> Say:
    return Say("six seven eight nine", pause=0.05)


@pytest.fixture(scope="module")
def world(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with provider(unwell) as (first, one), provider(talkative) as (second, two):
        text = CONFIG.format(first=one, second=two, folder=tmp_path_factory.mktemp("s"))
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20t",
            "OTEL_SERVICE_NAME": "llm",
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=gateway-0",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }
        with running(text, **variables) as gateway:
            yield World(gateway, first, second)


def trace_of(number: int) -> str:
    return f"{number:032x}"


def parent(number: int, flags: str = "01") -> str:
    return f"00-{trace_of(number)}-b7ad6b7169203331-{flags}"


def test_an_exchange_and_each_attempt_are_spans_of_the_clients_trace(world: World, collector: Collector):
    before = time.time_ns()
    world.ask("both", traceparent=parent(1), tracestate="vendor=x")
    exchange, failed, served = collector.of(trace_of(1), 3)
    assert (exchange.name, exchange.kind, exchange.parent) == ("POST /v1/chat/completions", SERVER, "b7ad6b7169203331")
    assert (failed.name, served.name) == ("chat a", "chat b")
    assert {failed.kind, served.kind} == {CALL}
    assert failed.parent == served.parent == exchange.id
    assert failed.failed
    assert failed.about["error.type"] == "unavailable"
    assert not served.failed
    assert not exchange.failed
    assert before < exchange.start <= failed.start < failed.end <= served.start < served.end <= exchange.end
    assert exchange.end < time.time_ns()


def test_each_provider_is_told_the_span_of_its_attempt(world: World, collector: Collector):
    world.ask("second", traceparent=parent(3), tracestate="vendor=x")
    _, served = collector.of(trace_of(3), 2)
    told = world.second.seen[-1].headers
    assert told["traceparent"] == f"00-{trace_of(3)}-{served.id}-01"
    assert told["tracestate"] == "vendor=x"


def test_spans_say_what_the_conventions_want_and_what_the_gateway_did(world: World, collector: Collector):
    world.ask("second", traceparent=parent(4), x_session_id="talk-4")
    exchange, served = collector.of(trace_of(4), 2)
    assert served.about == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "b",
        "gen_ai.request.stream": False,
        "gen_ai.conversation.id": "talk-4",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "gateway.provider": "second",
        "gateway.credential": "spare",
        "gateway.cost.dollars": pytest.approx(2e-5),
    }
    assert exchange.about.pop("gateway.store.duration") > 0
    assert len(exchange.about.pop("gateway.request.id")) == 32
    assert exchange.about == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gateway.dialect": "openai_chat",
        "gateway.model": "second",
        "gateway.key": "open",
        "gateway.owner": "open",
        "gateway.attempts": 1,
        "gateway.session.state": "new",
        "gateway.session.injected": 0,
        "gateway.session.trimmed": 0,
        "gen_ai.conversation.id": "talk-4",
    }


def test_a_stream_tells_when_its_first_word_came(world: World, collector: Collector):
    post(world.gateway, "second", stream=True, traceparent=parent(5))
    served = collector.of(trace_of(5), 2)[1]
    assert served.about["gen_ai.request.stream"] is True
    assert 0 < served.about["gen_ai.response.time_to_first_chunk"] < (served.end - served.start) / 1e9


def test_what_fails_for_good_fails_the_span_of_the_exchange(world: World, collector: Collector):
    with pytest.raises(urllib.error.HTTPError) as refused:
        world.ask("first", traceparent=parent(6))
    refused.value.close()
    spans = collector.of(trace_of(6), 1)
    assert spans[0].failed
    assert spans[0].about["http.response.status_code"] == refused.value.code
    assert spans[0].about["error.type"] in ("unavailable", "rate_limited")


def test_no_word_of_a_conversation_and_no_key_reaches_the_collector(world: World, collector: Collector):
    answer = world.ask("second", traceparent=parent(7))
    collector.of(trace_of(7), 2)
    said = json.loads(answer)["choices"][0]["message"]["content"]
    for word in (SECRET, said, "two"):
        assert word.encode() not in collector.raw


def test_a_client_that_does_not_trace_leaves_its_mark_on_the_provider_alone(world: World, collector: Collector):
    world.ask("second", traceparent=parent(8, flags="00"))
    told = world.second.seen[-1].headers["traceparent"]
    assert told.startswith(f"00-{trace_of(8)}-")
    assert told.endswith("-00")
    world.ask("second", traceparent=parent(9))
    collector.of(trace_of(9), 2)
    assert not [span for span in collector.spans if span.trace == trace_of(8)]


@pytest.mark.parametrize(
    "given", ["", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "x" * 5000, CLIENT[:-3]]
)
def test_without_a_context_that_can_be_read_a_trace_begins_here(given: str, world: World, collector: Collector):
    world.ask("second", **({"traceparent": given} if given else {}))
    told = world.second.seen[-1].headers["traceparent"].split("-")
    exchange, served = collector.of(told[1], 2)
    assert exchange.parent == ""
    assert served.id == told[2]


def test_the_log_names_the_trace(world: World, collector: Collector):
    world.ask("second", traceparent=parent(10))
    collector.of(trace_of(10), 2)
    until(lambda: any(line.get("trace_id") == trace_of(10) for line in world.gateway.lines()))


def test_the_variables_of_opentelemetry_name_the_service_and_its_headers(world: World, collector: Collector):
    world.ask("second", traceparent=parent(11))
    resource = collector.of(trace_of(11), 2)[0].resource
    assert resource["service.name"] == "llm"
    assert resource["k8s.pod.name"] == "gateway-0"
    assert resource["service.version"]
    assert collector.headers["authorization"] == "Bearer t"


def test_token_counts_are_traced_too(world: World, collector: Collector):
    body = json.dumps({"model": "second", "messages": [{"role": "user", "content": SECRET}]}).encode()
    headers = {"content-type": "application/json", "traceparent": parent(12)}
    request = urllib.request.Request(f"{world.gateway.url}/v1/messages/count_tokens", body, headers)
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=20).close()
    assert collector.of(trace_of(12), 2)[1].name == "count_tokens b"


def test_the_last_spans_are_sent_at_a_stop(collector: Collector, tmp_path: Any):
    with provider() as (_, url):
        text = CONFIG.format(first=url, second=url, folder=tmp_path)
        text += f'tracing: {{endpoint: "{collector.url}", headers: {{x-token: "${{TOKEN}}"}}, sample: 1.0}}\n'
        with running(text, OTEL_BSP_SCHEDULE_DELAY="60000", TOKEN="t0ken") as gateway:
            post(gateway, "first", traceparent=parent(20))
            assert not [span for span in collector.spans if span.trace == trace_of(20)]
        assert len(collector.of(trace_of(20), 2)) == 2
        assert collector.headers["x-token"] == "t0ken"


def test_a_collector_that_is_away_disturbs_nobody(tmp_path: Any):
    with provider() as (_, url):
        text = CONFIG.format(first=url, second=url, folder=tmp_path) + 'tracing: {endpoint: "http://127.0.0.1:9"}\n'
        with running(text, OTEL_BSP_SCHEDULE_DELAY="50") as gateway:
            for _ in range(5):
                assert "reply" in post(gateway, "first")
            stopping = time.monotonic()
            gateway.process.terminate()
            gateway.process.wait(15)
            assert time.monotonic() - stopping < 10


def test_without_traces_the_exporter_is_not_even_imported():
    program = (
        "import sys; from gateway.app import create_app; from gateway.config import parse; "
        "create_app(parse('{auth: {mode: none}}', {})); "
        "print([name for name in sys.modules if name.startswith('opentelemetry.exporter')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_without_traces_providers_are_told_nothing(tmp_path: Any):
    with provider() as (first, url), running(CONFIG.format(first=url, second=url, folder=tmp_path)) as gateway:
        post(gateway, "first", traceparent=CLIENT)
        assert "traceparent" not in first.seen[-1].headers


def test_none_are_sampled_where_nobody_asks_for_it(collector: Collector):
    traces = Traces(Tracing(endpoint=collector.url, sample=0.0))
    told = traces.begin({}, "/v1/messages")
    assert not told._span.is_recording()
    assert traces.begin({"traceparent": CLIENT}, "/v1/messages")._span.is_recording()
    traces._provider.shutdown()


def test_without_the_extra_the_gateway_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match="install the extra `otel`"):
        Traces(Tracing(endpoint="http://127.0.0.1:4318"))


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "http://t/x"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_SDK_DISABLED": "TRUE"}, ""),
        ({}, "http://mine"),
    ],
)
def test_the_variables_say_where_traces_go(environ: dict[str, str], endpoint: str):
    config = parse('tracing: {endpoint: "http://mine"}', {})
    assert override(config, environ).tracing.endpoint == endpoint


def test_the_settings_stay_where_the_variables_say_only_where():
    config = parse('tracing: {endpoint: "http://mine", sample: 0.5}', {})
    assert override(config, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}).tracing.sample == 0.5


def test_the_check_says_where_traces_go_and_no_password():
    told = "\n".join(summary(parse("tracing: {endpoint: 'http://u:pass-word@c:4318', sample: 0.25}", {})))
    assert "to c:4318, 25% of exchanges" in told
    assert "pass-word" not in told


def test_the_collectors_secrets_are_kept_out_of_the_log():
    config = parse("tracing: {endpoint: 'http://u:pass-word@c', headers: {authorization: Bearer t0ken}}", {})
    assert {"pass-word", "Bearer t0ken"} <= set(secrets_in(config))


def test_a_protocol_that_is_not_spoken_is_refused():
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_PROTOCOL: traces are sent as http/protobuf"):
        override(Config(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("endpoint: 'collector:4318'", "tracing.endpoint: it starts with http"),
        ("sample: 2", "tracing.sample: a share is 0 to 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: str, message: str):
    with pytest.raises(ConfigError, match=message):
        parse(f"tracing: {{{setting}}}", {})


def test_the_collectors_address_is_enough():
    assert endpoint_of("http://c:4318") == endpoint_of("http://c:4318/v1/traces") == "http://c:4318/v1/traces"


@pytest.mark.parametrize(
    ("path", "route", "operation"),
    [
        ("/v1/messages/", "/v1/messages", "chat"),
        ("/v1/embeddings", "/v1/embeddings", "embeddings"),
        ("/v1beta/models/x:streamGenerateContent", "/v1beta/models/{model}:streamGenerateContent", "generate_content"),
        ("/v1/models/x:countTokens", "/v1beta/models/{model}:countTokens", "count_tokens"),
        ("/v1beta/models/x:anything-a-client-says", "/v1beta/models/{model}:generateContent", "generate_content"),
    ],
)
def test_names_of_spans_have_no_word_of_the_clients(path: str, route: str, operation: str):
    assert route_of(path) == (route, operation)
