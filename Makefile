# What people run here. CI calls the same tasks.
PY := .venv/bin/python

.PHONY: setup check test cov dev lock

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

dev: setup
	$(PY) -m gateway demo

lock:
	uv pip compile -q --universal --python-version 3.11 --extra test --extra lint pyproject.toml \
	  --no-header --no-emit-index-url --no-annotate -o requirements-dev.txt
