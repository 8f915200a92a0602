# Each target makes .venv where it is missing; nothing is installed again until pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
PROMPT ?= two bananas and a house on white
SEED ?= 4900000

.PHONY: demo test lint
demo: .venv/.installed
	$(BIN)/samplesmith search "$(PROMPT)" --seed $(SEED) --candidates 16 --judge emoji-detector --output outputs/demo

test: .venv/.installed-dev
	$(BIN)/pytest -q -n 2 --dist loadfile -m "slow or not slow"

lint: .venv/.installed-dev
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch .venv/.installed $@
