# Works with GNU make 3.81 and later, on Linux and macOS. Everything runs from .venv, built from requirements.lock.
PYTHON ?= python3
UV ?= uv
SUITE ?= foundation jobs
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.from-lock
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv demo test lint mutants bench soak lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "labkit: no $(PYTHON) found; install Python 3.11 or later, or type: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "labkit: needs Python 3.11 or later, $(PYTHON) is $$($(PYTHON) -V 2>&1); type: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

venv: $(STAMP) ## build .venv from requirements.lock, where it is missing or stale

demo: $(STAMP) ## twenty batches, a drifting flow controller, a report
	$(BIN)/labkit demo

lint: $(STAMP) ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## everything but soak, mutants and bench
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not soak"

mutants: $(STAMP) ## how many wrong constants and flipped signs the tests notice (at least 90 %)
	$(BIN)/python -m tests.mutants

bench: $(STAMP) ## measured figures against those asked for; one suite: make bench SUITE=jobs
	@for suite in $(SUITE); do $(BIN)/labkit bench $$suite --json || exit 1; done

soak: $(STAMP) ## the long tests: a process killed at every crash point, 300 runs under random kills
	$(BIN)/python -m pytest -m soak

lock: ## resolve requirements.lock anew (needs uv); CUDA and torch stay out of it
	$(UV) pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest --upgrade \
	  --extra lab --extra postgres --extra dev --no-annotate --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --output-file requirements.lock --quiet

clean: ## remove what was built, .venv included
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache demo-lab
