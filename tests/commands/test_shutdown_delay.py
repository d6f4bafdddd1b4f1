"""Between the signal to stop and the end: readiness says no, and whoever has not noticed is still served."""

import json
import os
import signal
import urllib.request
from pathlib import Path

from tests.processes import provider, running, until

CONFIG = """
server: {{host: 127.0.0.1, port: PORT, shutdown_delay: 4s}}
auth: {{mode: none}}
sessions: {{file: {{directory: "{folder}"}}}}
providers: {{p: {{kind: openai, base_url: "{url}/v1", keys: [k]}}}}
models: {{m: {{targets: [{{provider: p, model: m}}]}}}}
"""


def test_a_gateway_that_leaves_says_so_and_serves_on_for_a_while(tmp_path: Path):
    with provider() as (_, url), running(CONFIG.format(url=url, folder=tmp_path)) as gateway:
        os.kill(gateway.process.pid, signal.SIGTERM)
        until(lambda: gateway.get("/health/ready")[0] == 503)
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{gateway.url}/v1/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
            assert answer.headers["connection"] == "close"
        assert gateway.process.wait(60) == 0
