# Everything that people and CI run. Each target sets up its own .venv when it is missing.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
BENCH_FLAGS ?=
SOAK_FLAGS ?=
# v1.2.3 is 1.2.3; three commits later it is 1.2.3.post3+gabcdef0; without a tag it is the package's own fallback.
TAG = $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed -E 's/^v//; s/-([0-9]+)-(g[0-9a-f]+)$$/.post\1+\2/')
VERSION ?= $(or $(TAG),0.1.0.dev0)
IMAGE = docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null)

# Without compiled modules, each program that a test starts compiles the whole package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo unit test check bench gpu soak docs mini quality image clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.base ## install the base package and show what a reranker does
	@$(BIN)/rerankd demo
	@echo "To use rerankd in this terminal: source $(BIN)/activate"

unit: $(VENV)/.dev ## run the quick unit tests: no servers, for the inner loop
	@$(BIN)/python -m pytest tests/unit -m "not slow" --numprocesses 2 --dist loadfile

test: $(VENV)/.dev $(VENV)/.mlflow $(VENV)/.openapi ## install everything the tests need and run the whole suite
	@scripts/services.sh
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev ## lint, types, layers, import circles, generated documents
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest tests/unit/test_import_graph.py
	@$(BIN)/python -m docs.generate --check

bench: $(VENV)/.dev ## measure speed and memory against sentence-transformers on this machine
	@$(BIN)/python -m benchmarks $(BENCH_FLAGS)

gpu: $(VENV)/.dev ## test and measure on a CUDA GPU, six minutes at most; results in benchmarks/results/gpu.json
	@$(BIN)/python -m benchmarks.gpu

soak: $(VENV)/.dev ## long load and fault runs; results in benchmarks/results/
	@$(BIN)/python -m benchmarks.soak $(SOAK_FLAGS)
	@$(BIN)/python -m benchmarks.failover
	@$(BIN)/python -m benchmarks.jobs
	@$(BIN)/python -m pytest -m soak --soak

docs: $(VENV)/.dev ## write the generated parts of docs/ and README again
	@$(BIN)/python -m docs.generate

mini: $(VENV)/.recipe ## train the bundled model again (DATA=folder with dev/ and corpora/)
	@$(BIN)/python -m recipes.mini --data $(DATA) --work build/mini

quality: $(VENV)/.dev ## measure the bundled model against BM25 on held-out documents (DATA=folder with dev/; an hour on 2 cores)
	@$(BIN)/python -m recipes.mini.evaluate --data $(DATA)

image: ## build the images rerankd:VERSION and rerankd:VERSION-cuda (needs docker); VERSION is the git tag
	@$(IMAGE) --tag rerankd:$(subst +,-,$(VERSION)) .
	@$(IMAGE) --tag rerankd:$(subst +,-,$(VERSION))-cuda --target cuda .

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/.base: pyproject.toml constraints.txt scripts/build_kernels.py $(wildcard src/rerankd/scoring/native/*.[ch])
	@test -n "$(PYTHON)" || { echo "rerankd needs Python 3.11 or newer with the venv module; set PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing rerankd (base)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "Installing what tests and checks need (torch among them: a minute or two)"
	@$(PIP) --editable ".[dev]"
	@touch $@

# Its own environment: MLflow's server asks for pandas and pyarrow that are older than ours.
$(VENV)/.mlflow: $(VENV)/.base
	@echo "Installing MLflow's server, which tests run against"
	@$(BIN)/python -m venv $(VENV)/mlflow
	@if $(VENV)/mlflow/bin/python -m pip install --quiet --disable-pip-version-check mlflow==3.17.2; then touch $@; \
	else rm -rf $(VENV)/mlflow; echo "Could not install it; tests that need it say so."; fi

# Its own environment: the generator of clients asks for a typer that is older than ours.
$(VENV)/.openapi: $(VENV)/.base
	@echo "Installing openapi-python-client, which tests generate a client with"
	@$(BIN)/python -m venv $(VENV)/openapi
	@if $(VENV)/openapi/bin/python -m pip install --quiet --disable-pip-version-check openapi-python-client==0.29.1; then touch $@; \
	else rm -rf $(VENV)/openapi; echo "Could not install it; tests that need it say so."; fi

$(VENV)/.recipe: $(VENV)/.base
	@$(PIP) --editable ".[recipe]"
	@touch $@
