# `make help` lists what there is. Every target sets itself up in .venv; nothing else is needed
# than make and Python 3.10 to 3.14.

SHELL := /bin/sh
.SHELLFLAGS := -euc
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Without cached bytecode every process that Dagster starts takes 2.5 times as long.
unexport PYTHONDONTWRITEBYTECODE

# The interpreter that .venv is made with: the first one here that is 3.10 to 3.14.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
    "$$each" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' 2>/dev/null \
    && echo "$$each" && exit; done; echo python3)

BIN := .venv/bin
# One stamp per interpreter, so that another PYTHON makes another .venv.
STAMP := .venv/.installed-$(shell "$(PYTHON)" -c 'import platform; print(platform.python_version())' 2>/dev/null)
INPUTS := setup.cfg pyproject.toml .ci/constraints.txt .ci/venv

# Never the DAGSTER_HOME of the shell: the demo's runs do not belong in it.
override export DAGSTER_HOME := $(CURDIR)/.dagster_home
LOG := output/demo.log

.PHONY: help demo dev test quick nightly outages base lint format tables bench peers screenshots clean home

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) home ## convert the shipped photographs and say what came out
	@mkdir -p $(dir $(LOG))
	@echo "Running images_job (log: $(LOG))"
	@$(BIN)/dagster job execute --module-name project_fanout.definitions --job images_job >$(LOG) 2>&1 || \
	    { status=$$?; tail -n 40 $(LOG); echo "images_job failed; the whole log is in $(LOG)"; exit $$status; }
	@$(BIN)/python -m project_fanout.images

dev: $(STAMP) home ## start Dagster's web UI and its daemon on http://localhost:3000
	@PYTHONWARNINGS='ignore:Function `dev_command` is superseded' $(BIN)/dagster dev

# Most tests wait for a process that they have started, so two at once are sooner done than one. More than two
# would compete for the pools' deadlines.
test: $(STAMP) ## run every test, two at once; PYTEST="-k name" runs some, PYTEST="-n 0" one after the other
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	    command -v google-chrome >/dev/null || .ci/debian-packages chromium || [ "$${CI:-}" != true ]
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	    .ci/debian-packages postgresql || [ "$${CI:-}" != true ]
	@command -v strace >/dev/null || .ci/debian-packages strace || [ "$${CI:-}" != true ]
	@$(BIN)/python -m pytest -n 2 $(PYTEST)

quick: $(STAMP) ## run the tests that start no process, three in four
	@FANOUT_TESTS=quick $(BIN)/python -m pytest -n 2 $(PYTEST)

outages: $(STAMP) ## kill and stop whole Ray clusters under runs, for four minutes; not part of make test
	@FANOUT_TESTS=outages $(BIN)/python -m pytest project_fanout_tests/engine/pools/ray/test_lost_cluster.py $(PYTEST)

nightly: ## run every test with ten times the examples and in full size, each of its processes started from nothing
	@FANOUT_TESTS=nightly $(MAKE) test

# Outside the gate: each pandas has an environment of its own.
base: ## run README's fan-out and the tests of engine/ and orchestration/ without any extra, on pandas 2 and on pandas 3
	@for pandas in 2 3; do .ci/base "$(PYTHON)" "$$pandas"; done

lint: $(STAMP) ## check format, style, which part imports which, and types
	@$(BIN)/ruff format --check --quiet . || { echo "Run 'make format'."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@found=$$($(BIN)/lint-imports --no-cache 2>&1) || { echo "$$found"; exit 1; }
	@$(BIN)/mypy

format: $(STAMP) ## rewrite the code in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

tables: $(STAMP) ## renew the tables of settings in README and docs
	@$(BIN)/python -m project_fanout_tests.settings_tables

bench: $(STAMP) ## run the benchmarks and print their tables
	@set -- benchmarks/bench_*.py; [ -e "$$1" ] || { echo "benchmarks/ holds no bench_*.py"; exit 1; }; \
	    for each in "$$@"; do echo "== $$each"; $(BIN)/python "$$each"; done

peers: $(STAMP) ## run Dagster's own tests with fanout_executor in the place of its executors; PYTEST="-k name" runs some
	@folder=$$(.ci/dagster-tests) && $(BIN)/python -m project_fanout_tests.peers "$$folder" $(PYTEST)

screenshots: $(STAMP) ## take README's pictures anew, of the real web UI in Chromium
	@PROJECT_FANOUT_SCREENSHOTS=output/screenshots $(BIN)/python -m pytest -q project_fanout_tests/e2e/test_run_in_ui.py
	@mkdir -p docs/pictures
	@for each in progress plots_light report; do cp output/screenshots/$$each.png docs/pictures/; done

clean: ## remove .venv, caches, and everything that demo and dev have made
	@rm -rf .venv .venv-pandas* .venv-install.log .debian-packages.log .peers output .dagster_home .tmp_dagster_home_* \
	    build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find project_fanout project_fanout_tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

home:
	@mkdir -p .dagster_home
	@cp -f dagster_home.yaml .dagster_home/dagster.yaml

$(STAMP): $(INPUTS)
	@.ci/venv "$(PYTHON)" dev
	@touch $@
