# `make demo` shows twinscope at work, `make test` proves it. Both start from a clean clone and Python 3.11 or later.
# The second time they are quick: what is installed is stamped with a hash of pyproject.toml and constraints.txt.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
DESK := .venv-desk
BIN := $(VENV)/bin
KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
PIP := -m pip install -qq --disable-pip-version-check --constraint constraints.txt

BASE := $(VENV)/.base-$(KEY)
FULL := $(VENV)/.full-$(KEY)
BARE := $(DESK)/.base-$(KEY)
DEMO := build/demo

.PHONY: help demo test lint types layers desk unit docs format wheel clean

help:
	@echo 'make demo     draw the example manuscript, screen it, and show the report'
	@echo 'make test     lint, types, layers, the desk without torch, and all tests'
	@echo 'make docs     write the generated pages of docs/ again'
	@echo 'make format   format the code'
	@echo 'make wheel    build the wheel into dist/'
	@echo 'make clean    remove the environments and everything that was built'

# --- environments -----------------------------------------------------------------------------------------------

$(BASE):
	@echo 'installing the desk into $(VENV) (about a minute, once)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) --editable .
	@touch $@

$(FULL):
	@echo 'installing the desk, the workshop, the cluster and the tools into $(VENV) (some minutes and 5 GB, once)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) --editable '.[dev,train,cluster]'
	@touch $@ $(BASE)

$(BARE):
	@echo 'installing the desk alone into $(DESK) (about a minute, once)'
	@$(PYTHON) -m venv --clear $(DESK)
	@$(DESK)/bin/python $(PIP) .
	@touch $@

# --- demo -------------------------------------------------------------------------------------------------------

demo: $(BASE)
	@mkdir -p $(DEMO)
	@$(BIN)/python examples/make.py $(DEMO)/manuscript.pdf $(DEMO)/earlier.pdf
	@$(BIN)/twinscope library add $(DEMO)/earlier.pdf --library $(DEMO)/library
	@$(BIN)/twinscope screen $(DEMO)/manuscript.pdf -o $(DEMO)/case --library $(DEMO)/library
	@report="$$PWD/$(DEMO)/case/report.html"; \
	if [ "$$(uname)" = Darwin ]; then open "$$report" || true; \
	elif [ -n "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null; then xdg-open "$$report" || true; \
	else echo 'Open the report in a browser: $(DEMO)/case/report.html'; fi

# --- test -------------------------------------------------------------------------------------------------------
# Unit tests come last, so that pytest's own closing line is the last thing to be read.

test: lint types layers desk unit

lint: $(FULL)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(FULL)
	@$(BIN)/mypy --strict

layers: $(FULL)
	@$(BIN)/lint-imports

# The desk needs no torch: the installed package, in an environment without it, screens the example.
desk: $(BARE)
	@$(DESK)/bin/python $(PIP) --no-deps --force-reinstall .
	@cd $(DESK) && bin/python ../tests/desk.py

# Those that are part of a Ray cluster have a process of their own: gRPC's threads are no company for those that fork.
RAY := tests/library/test_cluster.py

unit: $(FULL)
	@ended=0; $(BIN)/python -m pytest $(RAY) || ended=$$?; $(BIN)/python -m pytest --ignore=$(RAY) && exit $$ended

# --- upkeep -----------------------------------------------------------------------------------------------------

docs: $(FULL)
	@$(BIN)/python docs/generate.py

format: $(FULL)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

wheel: $(FULL)
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls -l dist

clean:
	rm -rf $(VENV) $(DESK) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
