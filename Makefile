# Everything a developer or CI does here. `make` alone lists the targets.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
# Test processes at a time: most tests wait for servers and clocks most of the time.
JOBS  := 2
CODE  := src tests $(wildcard benchmarks examples)
# Only used to make the virtual environment: python3.11 if it is there, else a python3 that is new enough.
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$python; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help setup run demo test check format races nodes bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and install everything (quick when nothing changed)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "AfterCommit needs Python 3.11 or newer: install it, or say PYTHON=/path/to/python."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,test]'
	@touch $@

run: setup ## Start a node with SQLite and the built-in broker (ARGS="--port 9000")
	$(BIN)/aftercommit serve $(ARGS)

demo: setup ## Watch messages go through a whole life (ARGS=...)
	$(BIN)/aftercommit demo $(ARGS)

test: setup ## Run every test (ARGS="tests/domain -k lifecycle")
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

check: setup ## What CI runs: format, lint, types, tests
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(CODE)
	@$(MAKE) --no-print-directory test

format: setup ## Put the code in shape
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

races: setup ## Race transactions against checks for longer (ARGS="--races 20000 --seed 7")
	$(BIN)/python -m tests.races $(ARGS)

nodes: setup ## Kill and freeze nodes and their databases for longer (FAULTS=60, ARGS=...)
	CAMPAIGN_FAULTS=$(or $(FAULTS),60) $(BIN)/python -m pytest --log-cli-level=info \
		tests/e2e/test_several_nodes.py tests/e2e/test_database_faults.py $(ARGS)

bench: setup ## Measure (BENCH=batch, postgresql, mariadb, flat, storm, transactions; ARGS=... for the rest)
	$(BIN)/python -m benchmarks$(if $(filter flat storm,$(BENCH)),.$(BENCH),$(if $(BENCH), \
		$(if $(filter postgresql mariadb,$(BENCH)),--database,--only) $(BENCH))) $(ARGS)

clean: ## Remove .venv and everything made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
