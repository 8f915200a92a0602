# Each target makes .venv where it is missing; nothing is installed again until pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
PROMPT ?= a fish and three boats on blue
SEED ?= 7000

.PHONY: demo web test lint types chromium
demo: .venv/.installed
	$(BIN)/samplesmith search "$(PROMPT)" --seed $(SEED) --candidates 16 --judge emoji-detector --output outputs/demo

web: .venv/.installed-web
	$(BIN)/samplesmith web

test: .venv/.installed-dev chromium
	$(BIN)/pytest -q -n 2 --dist loadfile -m "slow or not slow"

# The tests of the page want Debian's Chromium; without it they are skipped with a sentence, but in CI they fail.
chromium:
	@command -v chromium >/dev/null || apt-get install -y -qq chromium >/dev/null 2>&1 \
	|| { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 \
	|| echo "no Chromium here and none could be installed: the page is not tested in a browser"

lint: types
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

# mypy finds the package by its name, which the folder of a checkout need not have.
types: .venv/.installed-dev
	@mkdir -p build/types && ln -sfn ../.. build/types/samplesmith
	MYPYPATH=build/types $(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/.installed-web: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[web]"
	touch .venv/.installed $@

.venv/.installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch .venv/.installed $@
