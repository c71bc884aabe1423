# Every target sets itself up in .venv; that is quick when nothing has changed.

PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
# The versions that are installed; PINNED= takes the newest of everything instead.
PINNED := yes
pins = $(if $(PINNED),--constraint $(1) --build-constraint $(1))
# Twice quiet: no warnings about what an index has or has not, only errors.
PIP := $(BIN)/python -m pip -qq
INSTALL := $(PIP) install --editable '.[yamlgraph]' $(call pins,constraints.txt)
UV := .venv/uv/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --upgrade \
	--no-header --no-annotate

# Bytecode makes the hundreds of processes that the tests start twice as quick.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo check test lint bench docs page constraints nightly clean

help:
	@echo "make demo        see it work: no key, no network (ten seconds, once it is set up)"
	@echo "make check       lint and the quick tests (a minute)"
	@echo "make test        the whole test suite; ARGS='-k word' for some of it"
	@echo "make lint        ruff, mypy, which module may import which, and the size of the package"
	@echo "make bench       the benchmarks"
	@echo "make docs        the documentation as a site, in site/"
	@echo "make page        write docs/page/*.png again, with the Chromium of this machine"
	@echo "make constraints write constraints*.txt again, with the newest versions of today"
	@echo "make nightly     the whole suite and more on the newest of everything (an hour or two)"
	@echo "make clean       remove .venv and everything that was made"

demo: $(VENV)/installed
	@$(BIN)/yamlgraph-prompts demo

check: lint
	$(BIN)/python -m tests.suite --quick $(ARGS)

test: $(VENV)/ready
	$(BIN)/python -m tests.suite $(ARGS)

lint: $(VENV)/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python .ci/shape

bench: $(VENV)/ready
	@set -e; for bench in $$(grep -l __main__ benchmarks/*.py | sort); do \
		name=$$(basename $$bench .py); echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

page: $(VENV)/ready
	$(BIN)/python -m tests.page_screenshots

# What a user has.
$(VENV)/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "CPython 3.11 or newer is needed: make PYTHON=/path/to/it" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.3' $(if $(PINNED),--constraint constraints.txt)
	@$(INSTALL)
	@touch $@

# And what the tests and tools need.
$(VENV)/ready: $(VENV)/installed constraints-schemathesis.txt
	@echo "Adding what the tests need ..."
	@$(INSTALL) --group test --group lint
	@$(BIN)/python -m venv $(VENV)/schemathesis
	@$(PIP) --python $(VENV)/schemathesis install --group schemathesis \
		$(call pins,constraints-schemathesis.txt)
	@touch $@

$(VENV)/docs: $(VENV)/installed
	@$(INSTALL) --group docs
	@touch $@

# The core on the lowest versions that we claim.
$(VENV)/lowest/ready: $(VENV)/installed constraints-lowest.txt
	@$(BIN)/python -m venv --clear $(VENV)/lowest
	@$(PIP) --python $(VENV)/lowest install --editable '.[yamlgraph]' --group lowest \
		$(call pins,constraints-lowest.txt)
	@touch $@

# Names and versions for every CPython that we claim, whatever runs this. uv asks the index that
# UV_DEFAULT_INDEX names, else the public one.
constraints:
	@test -x $(UV) || $(PYTHON) -m venv .venv/uv
	@.venv/uv/bin/python -m pip -qq install --upgrade uv
	$(COMPILE) pyproject.toml --extra yamlgraph --group test --group lint --group docs -o constraints.txt
	$(COMPILE) --group schemathesis -o constraints-schemathesis.txt
	$(COMPILE) pyproject.toml --extra yamlgraph --group lowest -o constraints-lowest.txt

nightly:
	@.ci/nightly

clean:
	rm -rf .venv dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis .langgraph_api
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
