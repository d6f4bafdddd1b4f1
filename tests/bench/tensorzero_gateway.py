"""TensorZero's HTTP gateway as its Python package brings it; prints its URL, whose port it chooses itself.

.bench/tensorzero/bin/python tests/bench/tensorzero_gateway.py tensorzero.toml
"""

import signal
import sys

from tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
sys.stdout.write(f"ready at {gateway.base_url}\n")
sys.stdout.flush()
signal.sigwait({signal.SIGTERM, signal.SIGINT})
