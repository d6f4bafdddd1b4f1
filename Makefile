# What people run here. CI calls the same tasks.
PY := .venv/bin/python

.PHONY: setup check test cov dev lock faults

setup: .venv/done

.venv/done: pyproject.toml requirements-dev.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -c requirements-dev.txt -e '.[test,lint]'
	touch $@

check: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

test: setup
	$(PY) -m pytest

# The provider fault matrix, and a rate-limited credential in a fleet of three, as tables.
faults: setup
	$(PY) -m pytest -q -s -n0 tests/chaos/test_provider_faults.py
	$(PY) tests/chaos/fleet_cooldown.py

dev: setup
	$(PY) -m gateway demo

lock:
	uv pip compile -q --universal --python-version 3.11 --extra test --extra lint pyproject.toml \
	  --no-header --no-emit-index-url --no-annotate -o requirements-dev.txt
