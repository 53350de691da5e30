# The verbs of the repository; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data

.PHONY: help setup up test check train tables bench docs clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## a virtual environment with everything, in .venv

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("addrmesh needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev]'
	@touch $@

up: setup ## two regions on this machine, http://127.0.0.1:8000 and :8020, until Ctrl-C
	$(BIN)/addrmesh up

test: setup ## all tests: lint, types, layers, unit, contract, lab
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

check: setup ## the quick part of the tests: lint, types, layers, unit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit

train: setup ## train the built-in model again from $(DATA), under an hour on two cores
	$(BIN)/pip install --quiet -c constraints.txt -e '.[train]'
	$(BIN)/python training/train.py $(DATA)

tables: setup ## compile the gazetteer and the character table again from $(DATA)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[train]'
	$(BIN)/python training/compile_tables.py $(DATA)

bench: setup ## measure, beside the peers; half an hour on a quiet machine, results in bench/results
	for part in venvs bulk node peers startup engine edge near gazetteer validate report; do $(BIN)/python bench/$$part.py || exit 1; done

docs: setup ## write the generated reference pages again
	$(BIN)/python docs/generate.py

clean: ## remove the environment and every cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
