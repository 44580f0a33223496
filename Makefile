# `make help` lists the targets. Each of them sets up what it needs.
PYTHON  ?= python3
PYTHONS ?= 3.11 3.12 3.13 3.14

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
PYTEST := $(BIN)/python -m pytest
SOURCES := $(wildcard nodeipam tests bench examples)

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## The development environment, in .venv

# $(call environment,FOLDER,INTERPRETER): all packages from the lock, then this tree on top of them.
define environment
	@$(2) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(2) is older than Python 3.11: name a newer one with 'make PYTHON=…'" >&2; exit 1; }
	@$(2) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(2) can't make environments (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(2) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: \
	  -r requirements/dev.txt
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(1)/.complete
endef

$(STAMP): requirements/dev.txt
	$(call environment,$(VENV),$(PYTHON))

.venvs/%/.complete: requirements/dev.txt
	$(call environment,.venvs/$*,python$*)

.PHONY: demo
demo: $(STAMP) ## Show it all on this machine, in 10 seconds (ARGS="--hold": for kubectl)
	$(BIN)/python -m nodeipam demo $(ARGS)

.PHONY: demo-picture
demo-picture: $(STAMP) ## Draw docs/demo.svg
	$(BIN)/python -m nodeipam demo --picture docs/demo.svg

.PHONY: test
test: $(STAMP) ## All tests; those on a real API server need Go or KUBEBUILDER_ASSETS
	$(PYTEST)

.PHONY: test-unit
test-unit: $(STAMP) ## All tests but those on a real API server
	$(PYTEST) tests/unit tests/simulation tests/demo tests/reference

.PHONY: test-e2e
test-e2e: $(STAMP) ## The tests on a real API server
	$(PYTEST) tests/e2e

.PHONY: test-pythons
test-pythons: $(PYTHONS:%=test-python-%) ## The unit tests on every Python that is here

test-python-%:
	@if python$* -c '' 2>/dev/null; then \
	  $(MAKE) --no-print-directory .venvs/$*/.complete; \
	  echo "python$*:"; \
	  .venvs/$*/bin/python -m pytest -p no:cacheprovider tests/unit; \
	else \
	  echo "python$*: not here, passed over"; \
	fi

.PHONY: lint
lint: $(STAMP) ## Style, types, layers, scripts and locks
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck --external-sources scripts/*.sh .ci/run
	@! grep -nE 'https?://' requirements/*.txt || { echo "requirements/ names an address: run 'make lock'" >&2; exit 1; }

.PHONY: format
format: $(STAMP) ## Format the code, and mend what can be mended by rule
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11
.PHONY: lock
lock: $(STAMP) ## Compile requirements/ from pyproject.toml (UPGRADE=1: to the newest versions)
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements/run.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group build -o requirements/build.txt
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --group dev -c requirements/run.txt -c requirements/build.txt -o requirements/dev.txt

# helm as the tests have it, unless another one is named.
HELM ?= $(shell $(BIN)/python -m tests.programs helm4)

.PHONY: manifests
manifests: $(STAMP) ## Write manifests/ from the chart
	HELM="$(HELM)" scripts/manifests.sh manifests

.PHONY: docs
docs: $(STAMP) ## Write the pages that are made from code: docs/reference.md and docs/conformance.md
	$(BIN)/python -m tests.reference.document
	$(BIN)/python -m tests.conformance.document

.PHONY: simulate
simulate: $(STAMP) ## Play schedules of faults: SEEDS=100000 or 300-499, KIND=random or hand-over, JOBS=2
	$(BIN)/python -m tests.simulation $(if $(SEEDS),--seeds $(SEEDS)) $(if $(KIND),--kind $(KIND)) $(if $(JOBS),--jobs $(JOBS))

.PHONY: mutants
mutants: $(STAMP) ## Put mistakes into the controller, and see what finds them: SEEDS=100 JOBS=2 ALL=1
	$(BIN)/python -m tests.simulation.hunting $(if $(SEEDS),--seeds $(SEEDS)) $(if $(JOBS),--jobs $(JOBS)) $(if $(ALL),--all)

.PHONY: bench
bench: $(STAMP) ## nodeipam and kube-controller-manager on a real API server (ARGS="--nodes 1000 --only waiting"); needs Go
	$(BIN)/python -m bench $(ARGS)

.PHONY: bench-micro
bench-micro: $(STAMP) ## What the parts cost, without an API server (ARGS="--only allocation")
	$(BIN)/python -m bench.micro $(ARGS)

.PHONY: build
build: $(STAMP) ## Source archive and wheel, tried in an empty environment
	rm -rf dist build
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m zipfile -l dist/*.whl | grep 'nodeipam/py.typed' >/dev/null
	$(PYTHON) -m venv build/empty
	build/empty/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/run.txt
	build/empty/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dist/*.whl
	cd build && empty/bin/nodeipam version && empty/bin/python -m nodeipam --help >/dev/null

.PHONY: image-build
image-build: ## The image, by docker or podman (IMG, BASE_IMAGE, PLATFORM, CONTAINER_TOOL, CA_FILE)
	scripts/image-build.sh

.PHONY: image-test
image-test: $(STAMP) ## What the image is, and the chart's Deployment run from it; needs podman and mmdebstrap
	$(PYTEST) tests/image tests/e2e/shipped

.PHONY: run
run: ## A kind cluster with this tree's image, the chart and a ClusterCIDR
	scripts/cluster.sh run

.PHONY: setup-test-env
setup-test-env: ## A kind cluster with the definition of ClusterCIDR, for 'python -m nodeipam' outside
	scripts/cluster.sh up

.PHONY: teardown-test-env
teardown-test-env: ## Remove the kind cluster
	scripts/cluster.sh down

.PHONY: clean
clean: ## Remove what the other targets made in this folder
	rm -rf $(VENV) .venvs build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
