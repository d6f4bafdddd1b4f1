.PHONY: check test cov dev bench chaos lock

PY ?= .venv/bin/python

check: ; $(PY) -m ruff format --check . && $(PY) -m ruff check . && $(PY) -m mypy
test: ; $(PY) -m pytest
