# OrderFlow. `make help` lists the targets; ARGS="..." goes to the command behind one.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
# Variables of a caller's environment that would put other code on our path.
unexport PYTHONPATH PYTHONHOME

.PHONY: help setup demo up down observe test test-fast lint generate verify format lock histories fuzz chaos chaos-strict mutants bench bench-growth bench-overhead tour audit sbom secrets clean

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv from requirements.lock (only when something changed)
	@for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	    if "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        exec "$$python" tools/environment.py; \
	    fi; \
	done; \
	for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        exec "$$python" tools/environment.py; \
	    fi; \
	done; \
	echo "OrderFlow needs Python 3.11 or later as python3 (found: $$(python3 --version 2>&1 | head -1))"; exit 1

demo: setup ## Real baskets through the whole stack, with a table at the end
	@$(BIN)/orderflow demo $(ARGS)

up: setup ## Start the whole stack and stay in the foreground; Ctrl-C stops it
	@exec $(BIN)/orderflow up $(ARGS)

down: setup ## Stop a stack that runs from this folder
	@$(BIN)/orderflow down

observe: setup ## A Prometheus with our alerts beside a stack that runs from this folder; Ctrl-C stops it
	@exec $(BIN)/orderflow observe $(ARGS)

test: setup ## All tests, on real servers of their own
	@$(BIN)/python -m pytest $(ARGS)

test-fast: setup ## The tests that need no server, in less than 30 s
	@$(BIN)/python -m pytest tests/unit events/tests/unit tests/repo $(ARGS)

lint: setup ## ruff, mypy --strict and the import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

generate: setup ## Write again what is made from code: pages, statements.sql, dashboards, event schemas
	@$(BIN)/python -m tools.generate

verify: setup ## See that what is made from code is current, and breaks no released event schema
	@$(BIN)/python -m tools.generate --check

format: setup ## Let ruff format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --quiet

lock: setup ## Resolve pyproject.toml into the lock files again
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	$(BIN)/uv pip compile pyproject.toml --extra dev --upgrade $(LOCK) --custom-compile-command "make lock" \
	    -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --constraint requirements.lock $(LOCK) --no-header --no-annotate \
	    -o requirements.runtime.lock
	echo hatchling | $(BIN)/uv pip compile - $(LOCK) --no-header --no-annotate -o requirements.build.lock

histories: setup ## Record the order histories that the replay gate lacks (ARGS="happy_path ..." or ARGS=--all: again)
	@PYTHONPATH=.:events:tests $(BIN)/python -m tools.histories.record $(ARGS)

fuzz: setup ## Some 20,000 generated requests to a stack that runs from this folder, judged by its OpenAPI (ARGS="--examples 50")
	@PYTHONPATH=.:events $(BIN)/python -m tools.fuzz $(ARGS)

chaos: setup ## Break everything under a load of real baskets, then check (SEED, ORDERS, FAULTS)
	@PYTHONPATH=tests $(BIN)/python -m tools.chaos --seed $(or $(SEED),1) --orders $(or $(ORDERS),150) --faults $(or $(FAULTS),0) $(ARGS)

chaos-strict: setup ## The same on Apache Kafka and Temporal on Postgres (needs Java, Maven, Go, PostgreSQL 15)
	@PYTHONPATH=tests $(BIN)/python -m pytest tests/integration/store -p tools.chaos.postgres15
	@PYTHONPATH=tests $(BIN)/python -m tools.chaos --strict --seed $(or $(SEED),1) --orders $(or $(ORDERS),300) --faults $(or $(FAULTS),0) $(ARGS)

mutants: setup ## Plant bugs in a scratch copy and see that tests catch each (ARGS="unsorted-locks ..." or all)
	@PYTHONPATH=tests $(BIN)/python -m tools.mutants $(ARGS)

bench: setup ## A real order against workflows that do nothing (ARGS="--strict --dbos --keep")
	@$(BIN)/python -m bench $(ARGS)

bench-growth: setup ## The same order with more of everything (ARGS="clients lines hot open backlog --keep")
	@$(BIN)/python -m bench.growth $(ARGS)

bench-overhead: setup ## What metrics, logs and traces cost, or what security does (ARGS=security)
	@$(BIN)/python -m bench.overhead $(ARGS)

tour: setup ## Make docs/tour.md again: one order, seen from everywhere (needs curl, jq and kcat)
	@PYTHONPATH=.:events $(BIN)/python -m tools.tour

audit: setup ## Ask for known holes in what the locks name (pip-audit)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit==2.10.1'
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock

sbom: setup ## What is in the image, as CycloneDX: dist/orderflow.cdx.json
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom==7.5.0'
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements.runtime.lock --pyproject pyproject.toml --output-reproducible \
	    --output-file dist/orderflow.cdx.json

secrets: ## Random passwords for docker-compose.yml, in .env; what is there stays
	@python3 tools/compose_secrets.py

clean: ## Remove the environment and caches (not .orderflow: `orderflow up --fresh` empties that)
	rm -rf .venv .venv.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
