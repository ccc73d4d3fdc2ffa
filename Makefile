# `make all` runs the default experiment, `make test` the tests; both set everything up first, in this folder alone.

PYTHON ?= python3
CORES  ?= 2
CONFIG ?= config/config.yaml

BIN   := .venv/bin
STAMP := .venv/.installed

.PHONY: all smoke test test-fast lint format schema docs ui setup clean help
.DEFAULT_GOAL := help

help:
	@echo "make all      run the default experiment ($(CONFIG), $(CORES) cores) and print its table"
	@echo "make smoke    run the same graph on a few hundred passages"
	@echo "make test     run all tests           make test-fast   leave out whole chains"
	@echo "make lint     ruff, snakefmt, snakemake --lint, derived files"
	@echo "make docs     the documentation as a site (build/site/index.html)"
	@echo "make ui       open MLflow on the store of the experiments"
	@echo "make setup    only the virtual environment (.venv)"
	@echo "Variables: CORES=8 CONFIG='config/config.yaml my-changes.yaml' PYTHON=python3.12"

setup: $(STAMP)

# pip says a lot, and all of it only matters when it fails.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d; set PYTHON=..." % sys.version_info[:2])'
	@echo "Setting up .venv (about 2 GB, a few minutes; progress in .venv/pip.log)"
	@$(PYTHON) -m venv .venv
	@( $(BIN)/python -m pip install -r requirements.lock && $(BIN)/python -m pip install --no-deps -e . ) > .venv/pip.log 2>&1 \
		|| { tail -n 30 .venv/pip.log; echo "The set-up failed; all of pip's output is in .venv/pip.log"; exit 1; }
	@touch $@

all: $(STAMP)
	@$(BIN)/snakemake --cores $(CORES) --configfile $(CONFIG) -- all

smoke: $(STAMP)
	@$(MAKE) --no-print-directory all CONFIG=config/smoke.yaml

test: $(STAMP)
	@$(BIN)/python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

test-fast: $(STAMP)
	@$(BIN)/python -m pytest -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint
	$(BIN)/simlm schema --check

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt workflow

schema: $(STAMP)
	$(BIN)/simlm schema

# A small environment of its own: nothing of it is needed for anything else.
build/docs-env: docs/site/requirements.txt
	@$(PYTHON) -m venv $@ && $@/bin/pip install --quiet -r $< && touch $@

docs: $(STAMP) build/docs-env
	@$(BIN)/python docs/site/commands.py > build/commands.md
	@NO_MKDOCS_2_WARNING=1 build/docs-env/bin/mkdocs build --quiet --strict
	@echo "build/site/index.html"

ui: $(STAMP)
	@$(BIN)/simlm ui

clean:
	rm -rf .venv .snakemake build
