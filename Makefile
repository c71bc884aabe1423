# Every target sets itself up in .venv; that is quick when nothing has changed.

PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --editable '.[yamlgraph]'

.PHONY: help demo test lint bench page clean

help:
	@echo "make demo    see it work: no key, no network (ten seconds, once it is set up)"
	@echo "make test    the whole test suite; ARGS='-k word' for some of it"
	@echo "make lint    ruff, mypy, and which module may import which"
	@echo "make bench   the benchmarks"
	@echo "make page    docs/page/*.png anew, with the Chromium of this machine"
	@echo "make clean   remove .venv and everything that was made"

demo: .venv/installed
	@$(BIN)/yamlgraph-prompts demo

test: .venv/ready
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	@set -e; for bench in $$(grep -l __main__ benchmarks/*.py | sort); do \
		name=$$(basename $$bench .py); echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done

page: .venv/ready
	$(BIN)/python -m tests.page_screenshots

# What a user has.
.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "CPython 3.11 or newer is needed: make PYTHON=/path/to/it" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' # installs dependency groups
	@$(INSTALL)
	@touch $@

# And what the tests and tools need.
.venv/ready: .venv/installed
	@echo "Adding what the tests need ..."
	@$(INSTALL) --group test --group lint
	@# Apart: schemathesis and langgraph-api want different versions of one library.
	@$(BIN)/python -m venv .venv/schemathesis
	@.venv/schemathesis/bin/python -m pip install --quiet 'schemathesis>=4.6'
	@touch $@

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .langgraph_api
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
