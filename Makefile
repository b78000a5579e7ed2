# `make` alone explains the targets. Everything runs from .venv, which is made from requirements.lock when needed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install run up test check format bench bench-detection docs lock clean

PYTHON ?= python3.11
BIN := .venv/bin
UNTIL ?=
TESTS ?=

# Also where the locale is C or POSIX.
export PYTHONUTF8 := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

help: ## Explains the targets
	@printf 'A first look takes two commands: \033[1mmake run\033[0m and \033[1mmake test\033[0m.\n\n'
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  \033[1mmake %-15s\033[0m %s\n", $$1, $$2 }'
	@printf '\nVariables: UNTIL=2013-12-31 (run, up), TESTS=tests/stages (test), PYTHON=/path/to/python3.11,\n'
	@printf 'ANOMALY_PORT_AIRFLOW, _MLFLOW, _SLACK, _POSTGRES (ports), ANOMALY_VAR (another folder than var/).\n'

install: .venv/installed ## Makes .venv from requirements.lock (the other targets do it when needed)

# Nothing is written outside the checkout, what pip has downloaded included.
.venv/installed: export PIP_CACHE_DIR := $(abspath $(or $(ANOMALY_VAR),var))/cache/pip
.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo 'Python 3.11 is needed and "$(PYTHON)" is not; name it: make PYTHON=/path/to/python3.11 …' >&2; exit 1; }
	@rm -f $@
	@$(PYTHON) -m venv .venv
	@echo "Installing $$(grep -c '^[a-z0-9].*==' $<) packages into .venv: once, some minutes"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --require-hashes -r $< | awk '\
	  /^ *(Collecting|Processing)/ { if (++n % 25 == 0) { print "  " n " packages found"; fflush() } } \
	  /^ *Installing collected/ { print "  unpacking " n " packages"; fflush() }'
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: .venv/installed ## Starts the embedded stack, runs the sample, prints the incidents, stops everything
	@PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m anomaly.local.run $(if $(UNTIL),--until '$(UNTIL)')

up: .venv/installed ## The same, and stays up with Airflow, MLflow, Data Docs and the Slack preview until Ctrl-C
	@PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m anomaly.local.run --stay $(if $(UNTIL),--until '$(UNTIL)')

test: .venv/installed ## Runs every test, the whole stack included
	@$(BIN)/python -m pytest $(or $(TESTS),--numprocesses 2 --dist loadfile)

check: .venv/installed ## Lint, format, types, and which folder may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/installed ## Formats the code and mends what the linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .venv/installed ## Measures the figures of the README: fit, cold predict, update, review pages
	@$(BIN)/python -m tests.benchmarks

SECTIONS ?=
bench-detection: .venv/installed ## Measures the judgement: calibration, injected incidents, forecasts, peers (SECTIONS=…)
	@$(MAKE) --no-print-directory var/cache/peers/installed || \
	  echo 'The libraries of other detectors could not be installed: those peers are skipped.' >&2
	@$(BIN)/python -m tests.benchmarks.detection $(SECTIONS)

# Apart from .venv: what is only compared with is no dependency of the product.
PEERS := tests/benchmarks/detection/peers/requirements.txt
var/cache/peers/installed: export PIP_CACHE_DIR := $(abspath var)/cache/pip
var/cache/peers/installed: $(PEERS)
	@rm -rf $(@D)
	@$(PYTHON) -m venv $(@D)
	@echo 'Installing luminol, PyOD and Prophet into $(@D): once, a minute'
	@$(@D)/bin/python -m pip install --disable-pip-version-check --no-input --quiet --require-hashes -r $(PEERS)
	@touch $@

docs: .venv/installed ## Builds the documentation site, without a network: docs/_build/html/index.html
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	@echo 'docs/_build/html/index.html'

lock: ## Renews requirements.lock from pyproject.toml (maintainers; needs uv)
	uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-header --all-extras \
	  $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements.lock

clean: ## Removes var/ and the caches; .venv stays
	rm -rf var docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
