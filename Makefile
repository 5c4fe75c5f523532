# Everything runs from the environment in .venv, which `make env` builds from requirements.lock.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

UV_VERSION := 0.13.9
BIN := .venv/bin
# Installed for real: the stamp is younger than the two files that decide what is installed.
STAMP := .venv/.installed

# Version managers put names on PATH that fail when they are called, so each candidate is called.
ASKED := $(PYTHON)
override PYTHON := $(shell for python in $(or $(ASKED),python3.11 python3.12 python3.13 python3); do \
	$$python -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13); \
	print(sys.executable)' 2>/dev/null && break; done)
UV := $(or $(shell uv --version >/dev/null 2>&1 && command -v uv),.uv/bin/uv)

HAS_PYTHON = test -n "$(PYTHON)" || { echo "pg_platform needs Python 3.11, 3.12 or 3.13, and \
	$(or $(ASKED),PATH) has none; name one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }

.PHONY: help env demo test test-all test-lowest check format dist lock clean

# Another interpreter by name is another environment; unnamed, the one that is there stays.
MINOR := 'import sys; print(sys.version_info[:2])'
ifneq ($(and $(ASKED),$(PYTHON)),)
ifneq ($(shell $(PYTHON) -c $(MINOR)),$(shell $(BIN)/python -c $(MINOR) 2>/dev/null))
.PHONY: $(STAMP)
endif
endif

help: ## list the targets; PYTHON=python3.13 with any of them: the interpreter of .venv
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

env: $(STAMP) ## create .venv from requirements.lock and install this checkout in it

demo: env ## a sweep on generated pictures, from nothing to an answer: four minutes on two cores
	$(BIN)/pg-sweep smoke.yaml
	@echo
	@echo "The same table, the figure and the curves in a browser: $(BIN)/pg-ui"

# Two files of tests at a time: most of a test's time is a command that starts. Faults run alone.
TEST_WORKERS ?= 2

test: env ## the tests, without the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

test-all: env ## all tests, those with faults and several processes too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

# Another environment, with none of the lock: slow to make, and asked for in CI.
LOWEST := .venv-lowest/bin/python
test-lowest: | $(UV) ## the tests with the lowest versions that pyproject.toml allows
	@$(HAS_PYTHON)
	$(UV) venv --quiet --allow-existing --no-python-downloads --python "$(PYTHON)" .venv-lowest
	$(UV) pip install --quiet --python $(LOWEST) --resolution lowest-direct --editable '.[dev]'
	OMP_NUM_THREADS=1 $(LOWEST) -m pytest -n $(TEST_WORKERS) --dist loadfile

check: env ## ruff, mypy --strict and the floors that imports may not climb
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: docs
docs: env ## build the documentation into site/; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html; $(BIN)/mkdocs serve has a search too"

format: env ## let ruff sort imports and lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: env ## build the wheel and the sdist in dist/, by the hatchling of the lock
	$(BIN)/python -m hatchling build

# One lock for all three Pythons; a pin that is there stays as long as pyproject.toml allows it.
lock: | $(UV) ## write requirements.lock again from pyproject.toml
	$(UV) pip compile --quiet --universal --generate-hashes --no-header --no-annotate --all-extras \
		--python-version 3.11 pyproject.toml -o requirements.lock

clean: ## remove the environment and all caches; results in runs/ stay
	rm -rf .venv .venv-lowest .uv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf site

# The project itself is built by the hatchling of the lock, so that nothing comes without a hash.
$(STAMP): requirements.lock pyproject.toml | $(UV)
	@$(HAS_PYTHON)
	$(UV) venv --quiet --allow-existing --no-python-downloads --python "$(PYTHON)" .venv
	$(UV) pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.uv/bin/uv:
	@$(HAS_PYTHON)
	@"$(PYTHON)" -m venv .uv >/dev/null 2>&1 || { rm -rf .uv; \
		echo "$(PYTHON) -m venv failed; remedy on Debian: apt-get install python3-venv" >&2; exit 1; }
	.uv/bin/python -m pip install --quiet uv==$(UV_VERSION)
