# make demo     run it: a local exchange, watchers, a model, the API   ARGS="--for 60s --json out.json"
# make test     import rules and the whole test suite                  ARGS="tests/unit -k book"
# make lint     style, types and import rules
# make format   mend what can be mended
# make bench    run every benchmark; each writes its own table         ARGS="--quick"
# make docs     write the generated pages of docs/
# make warm     compile every kernel; demo and test do that first
# make setup    make .venv; the others do that too when it is not there or not up to date
# make clean    remove caches and build products; .venv and var/ stay

SHELL := /bin/bash
BIN := .venv/bin
# The stamp's name holds the content of everything that set-up depends on, so that a second run is
# instant, a changed lock is noticed, and a fresh clone's file times mean nothing.
INPUTS := requirements.lock pyproject.toml hatch_build.py scripts/setup.sh scripts/foreshock
STAMP := .venv/.set-up-$(shell cat $(INPUTS) | sha256sum | cut -c1-16)
BENCHMARKS := $(filter-out __main__ __init__ common,$(patsubst benchmarks/%.py,%,$(wildcard benchmarks/[a-z]*.py)))

.PHONY: help warm demo test lint format bench docs setup clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(STAMP)

$(STAMP):
	@scripts/setup.sh
	@rm -f .venv/.set-up-*
	@touch $@

# Seconds where the kernels are compiled already, about two minutes where they are not.
warm: $(STAMP)
	@$(BIN)/foreshock warm

demo: warm
	@$(BIN)/foreshock demo $(ARGS)

test: warm
	@$(BIN)/lint-imports --no-logo
	$(BIN)/pytest $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	$(BIN)/python -m scripts.make_docs --check

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name $(ARGS); done

docs: $(STAMP)
	$(BIN)/python -m scripts.make_docs

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
