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
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Installed without compiling: `make compiled` does that, once, where it finds again what it has made. With the compiler in
# the environment itself: in one of its own, anew for each install, its files would be newer than what it made before.
INSTALL_PACKAGE := LSMCLI_PURE=1 $(INSTALL) --no-build-isolation --editable
COMPILE := $(BIN)/python setup.py --quiet build_ext --inplace
JOBS ?= 2

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: setup
setup: $(STAMP) ## make .venv with the package, editable, and the tools that tests need

$(STAMP): pyproject.toml setup.py
	@test -n "$(PYTHON)" || { echo "CPython 3.11 or later is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "setting up $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
		| tr ' ' '\n' | $(INSTALL) --requirement /dev/stdin
	@$(INSTALL_PACKAGE) '.[dev]'
	@$(COMPILE)
	@touch $@

.PHONY: compiled
compiled: $(STAMP) ## compile the hot modules anew where their source has changed and a C compiler is at hand
	@$(COMPILE)

.PHONY: demo
demo: $(STAMP) ## build a file from Unicode's character names and walk through it
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/demo.sh

.PHONY: demo-debian
demo-debian: $(STAMP) ## import the index of Debian's packages (needs apt-cache), ask it, export and compare
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/debian_index.sh

.PHONY: picture
picture: $(STAMP) ## draw docs/shell.svg anew from a real session of the shell
	@$(BIN)/python demo/shell_picture.py docs/shell.svg

.PHONY: test
test: lint compiled ## lint, then every test but the round trips of test-interop, on two cores (JOBS=n for more)
	@$(BIN)/python -m pytest -n $(JOBS) --ignore tests/interop

# Whose programs the round trips need: the program, and the Debian package that has it.
INTEROP_TOOLS := mdb_load:lmdb-utils db5.3_load:db-util ldb:rocksdb-tools redis-server:redis-server \
	redis-cli:redis-tools sqlite3:sqlite3

.PHONY: test-interop
test-interop: $(STAMP) ## round trips with the real tools of other stores; installs what is missing of them
	@missing=; for tool in $(INTEROP_TOOLS); do \
		command -v "$${tool%%:*}" > /dev/null || missing="$$missing $${tool##*:}"; done; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
		$$as_root apt-get update -q && $$as_root apt-get install -y -q --no-install-recommends $$missing || \
		{ echo "cannot install them here: apt-get install$$missing" >&2; exit 1; }; \
	fi
	@$(INSTALL_PACKAGE) '.[dev,interop]'
	@LSMCLI_INTEROP=1 $(BIN)/python -m pytest tests/interop

.PHONY: bench-import
bench-import: $(STAMP) ## import and export beside other tools: a table, a chart and figures in docs/benchmarks (some 10 minutes)
	@$(INSTALL_PACKAGE) '.[dev,bench]'
	@$(BIN)/python -m benchmarks.import_export --large 10000000 --output docs/benchmarks $(BENCH)

.PHONY: bench
bench: compiled ## beside LevelDB, RocksDB, LMDB and SQLite: a table, a chart and figures in docs/benchmarks (BENCH='--rounds 5')
	@$(INSTALL_PACKAGE) '.[dev,bench]'
	@$(BIN)/python -m benchmarks.key_value --output docs/benchmarks $(BENCH)
	@$(BIN)/python -m benchmarks.command_lines --output docs/benchmarks

.PHONY: prove
prove: $(STAMP) ## the long proofs: a million entries against a model, twice, and 250 processes killed (some 6 minutes)
	@$(BIN)/python -m tests.simulation.million
	@LSMCLI_KILLS=200 LSMCLI_IMPORT_KILLS=50 $(BIN)/python -m pytest tests/simulation/test_kill.py tests/simulation/test_import_kill.py

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

# Once with all code interpreted, since the steps of compiled code are not seen; once for what is done only beside it.
COVERAGE_TESTS ?= tests/engine

.PHONY: coverage
coverage: compiled ## lines and branches of the engine that its tests reach: all of what guards the data, 95 % of the rest
	@$(BIN)/python -m coverage erase
	@LSMCLI_PURE=1 $(BIN)/python -m coverage run -m pytest $(COVERAGE_TESTS)
	@$(BIN)/python -m coverage run -m pytest $(COVERAGE_TESTS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report
	@$(BIN)/python -m coverage json --quiet -o - | $(BIN)/python -m tests.coverage_gate

.PHONY: clean
clean: ## remove the environment, the caches and what the demo built
	rm -rf $(VENV) build dist *.egg-info demo/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov
	find lsmcli -name '*.so' -delete
	find lsmcli tests demo -name __pycache__ -type d -prune -exec rm -rf {} +
