# Every recipe that a developer needs; continuous integration runs the same ones (.ci/run).
# Each target sets up what it needs by itself: a fresh clone, CPython 3.11 and make are enough.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first interpreter that is new enough. A version manager may put a name on the path that does not run.
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
JOBS ?= 2

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: setup
setup: $(STAMP) ## make .venv with the package, editable, and the tools that tests need

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "CPython 3.11 or later is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

.PHONY: demo
demo: $(STAMP) ## build a file from Unicode's character names and walk through it
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/demo.sh

.PHONY: picture
picture: $(STAMP) ## draw docs/shell.svg anew from a real session of the shell
	@$(BIN)/python demo/shell_picture.py docs/shell.svg

.PHONY: test
test: lint ## lint, then every test, on two cores (JOBS=n for more)
	@$(BIN)/python -m pytest -n $(JOBS)

.PHONY: prove
prove: $(STAMP) ## the long proofs: a million entries against a model, twice, and 200 processes killed (some 5 minutes)
	@$(BIN)/python -m tests.simulation.million
	@LSMCLI_KILLS=200 $(BIN)/python -m pytest tests/simulation/test_kill.py

MINUTES ?= 60

.PHONY: torture
torture: $(STAMP) ## the fault matrix, for as long as MINUTES=60 says, on JOBS=2 cores, with a table at the end
	@$(BIN)/python -m tests.simulation.torture --minutes $(MINUTES) --jobs $(JOBS)

.PHONY: lint
lint: $(STAMP) ## ruff (rules and format) and mypy --strict
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --check; echo "run: make format" >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary

.PHONY: format
format: $(STAMP) ## let ruff lay out the code and order the imports
	@$(BIN)/ruff check --quiet --fix --select I
	@$(BIN)/ruff format --quiet

.PHONY: coverage
coverage: $(STAMP) ## run the tests on one core and show the lines and branches that none of them reaches
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

.PHONY: clean
clean: ## remove the environment, the caches and what the demo built
	rm -rf $(VENV) build dist *.egg-info demo/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov
	find lsmcli tests demo -name __pycache__ -type d -prune -exec rm -rf {} +
