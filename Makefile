# Everything that a person or CI does goes through here. `make` alone prints help.

PYTHON ?= python3
PORT ?= 8080
# What k8s-render prints and rehearse runs.
OVERLAY ?= production
# T narrows a test target: make test-unit T=tests/unit/test_kit_ids.py
T ?=

BIN := .venv/bin
PY := $(BIN)/python
# Two cores: more workers than that only wait for each other.
WORKERS ?= 2
DOCKER ?= docker
# 1 builds the image with the model that needs no provider.
LOCAL_MODEL ?= 0
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist loadgroup
# Compiled code is kept: to compile it again is most of what a program costs that starts.
unexport PYTHONDONTWRITEBYTECODE

-include .makerc

.DEFAULT_GOAL := help
.PHONY: help setup run check test ci clean

##@ Everyday

help: ## Print this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/dev.stamp ## Make .venv with everything that development needs

run: .venv/run.stamp ## Start Headrace on this machine (options: A="--inline --no-envoy")
	@$(PY) -m cli up $(A)

check: setup format-check proto-check proto-lint proto-breaking docs-check lint typecheck layers envoy-check image-check k8s-check ## Everything that needs no running process
	@$(PY) scripts/tree_clean.py

test: setup node ## Every test
	$(PYTEST) $(or $(T),tests)

ci: check test ## What CI runs

format: setup ## Format code and protos
	$(BIN)/ruff format . && $(BIN)/ruff check --fix-only -q . && $(BIN)/buf format -w

clean: ## Remove what was made, but not data
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/node/node_modules build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Checks

.PHONY: format format-check lint typecheck layers docs docs-check envoy-check
format-check: setup ## Fail when code or protos are not formatted
	$(BIN)/ruff format --check -q . && $(BIN)/buf format -d --exit-code

lint: setup ## Lint code
	$(BIN)/ruff check -q .

typecheck: setup ## Check types
	$(BIN)/mypy kit services cli scripts deploy bench tests

layers: setup ## Check who may import whom
	PYTHONPATH=gen $(BIN)/lint-imports --no-logo

.PHONY: migration
migration: setup ## Write the next migration of a service's tables (S=auth M="what it does")
	@$(PY) scripts/new_migration.py $(S) "$(M)"

docs: setup ## Generate what is generated under docs/ and deploy/k8s/, and the providers' names
	$(PY) scripts/gen_config_docs.py && $(PY) scripts/gen_provider_docs.py && $(PY) scripts/gen_management_docs.py && \
		$(PY) scripts/gen_cli_docs.py && $(PY) scripts/gen_licenses.py && $(PY) scripts/gen_k8s.py && \
		$(PY) scripts/gen_monitoring.py

docs-check: setup ## Fail when generated documents are out of date
	$(PY) scripts/gen_config_docs.py --check && $(PY) scripts/gen_provider_docs.py --check && \
		$(PY) scripts/gen_management_docs.py --check && $(PY) scripts/gen_cli_docs.py --check && \
		$(PY) scripts/gen_licenses.py --check && $(PY) scripts/gen_k8s.py --check && \
		$(PY) scripts/gen_monitoring.py --check

envoy-check: setup ## Let Envoy validate its configuration, in every variation
	$(PY) scripts/envoy_check.py

##@ Image

.PHONY: image image-check compose-secrets sbom
image: ## Build the container image, with docker or what stands in for it (LOCAL_MODEL=1, DOCKER=podman)
	$(DOCKER) build -t headrace:$(VERSION) --build-arg LOCAL_MODEL=$(LOCAL_MODEL) --build-arg REVISION=$(REVISION) .

image-check: setup ## Lint the Dockerfile
	$(BIN)/hadolint Dockerfile

compose-secrets: setup ## Make the secrets that compose.yaml mounts, in .compose/
	@$(PY) scripts/compose_secrets.py

sbom: setup ## List what the image installs, with versions and licences, as CycloneDX (build/sbom.cdx.json)
	@$(PY) scripts/sbom.py

##@ Kubernetes

.PHONY: k8s-render k8s-check
k8s-render: setup ## Print an overlay's manifests (OVERLAY=production)
	@$(PY) scripts/k8s_render.py $(OVERLAY)

k8s-check: setup ## Render every overlay and combination of components, and validate what comes out
	@$(PY) scripts/k8s_check.py

.PHONY: rehearse
rehearse: setup ## Run an overlay on this machine, in network namespaces, and make a request (OVERLAY=production A=--keep)
	@$(PY) -m deploy.rehearsal $(OVERLAY) --request $(A)

.PHONY: rehearse-all
rehearse-all: setup ## Every scenario under load: roll-outs, kills, cuts, upgrades, certificates (takes an hour; A="--few-adapters")
	$(PY) -m pytest -n 0 -s --whole $(A) $(or $(T),tests/rehearsal)

##@ Contract

.PHONY: proto proto-check proto-lint proto-breaking
proto: setup ## Generate gen/ from proto/
	$(PY) scripts/gen_protos.py

proto-check: setup ## Fail when gen/ is out of date
	$(PY) scripts/gen_protos.py --check

proto-lint: setup ## Lint protos
	$(BIN)/buf lint

proto-breaking: setup ## Fail when a proto breaks the last release
	$(PY) scripts/proto_breaking.py

##@ Tests

.PHONY: test-whole test-unit test-wire test-contract test-integration test-e2e test-rehearsal test-repo node
test-whole: setup node ## Every test, in its heaviest form, but for the rehearsal (make rehearse-all)
	$(PYTEST) --whole $(or $(T),tests --ignore=tests/rehearsal)

test-unit: setup ## Decisions, alone
	$(PYTEST) $(or $(T),tests/unit)

test-wire: setup ## Bytes, against goldens (UPDATE_GOLDENS=1 rewrites them)
	$(PYTEST) $(or $(T),tests/wire)

test-contract: setup ## One suite for every implementation
	$(PYTEST) $(or $(T),tests/contract)

test-integration: setup ## Each service alone, over real gRPC
	$(PYTEST) $(or $(T),tests/integration)

test-e2e: setup node ## The system: all processes, Envoy in front
	$(PYTEST) $(or $(T),tests/e2e)

test-rehearsal: setup ## The manifests, run on this machine: the short form
	$(PY) -m pytest -n 0 $(or $(T),tests/rehearsal)

test-repo: setup ## Whether anything was forgotten
	$(PYTEST) $(or $(T),tests/repo)

node: setup
	@$(PY) scripts/node_setup.py

##@ Measure

.PHONY: bench
bench: setup node ## CPU, latency and memory, also of translation, beside a plain proxy (A="--only translation")
	$(PY) -m bench $(A)

##@ Dependencies

.PHONY: lock
lock: .uv/bin/uv ## Lock newest versions with hashes into requirements/
	$(UV_COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	@# What development needs may hold a version back; what runs is what was tested.
	$(UV_COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/run.txt

UV_COMPILE := .uv/bin/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.uv/bin/uv: requirements/uv.txt
	@$(PYTHON) scripts/check_python.py
	@$(PYTHON) -m venv --clear .uv
	@.uv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/run.stamp: requirements/run.txt .uv/bin/uv
	@test -x $(PY) || $(PYTHON) -m venv --without-pip .venv
	@# A development environment holds everything that running needs; it is kept as one.
	@if test -e .venv/dev.stamp; then which=dev; else which=run; fi; \
		.uv/bin/uv pip sync -q --python $(PY) --require-hashes requirements/$$which.txt
	@touch $@

.venv/dev.stamp: requirements/dev.txt .uv/bin/uv
	@test -x $(PY) || $(PYTHON) -m venv --without-pip .venv
	@.uv/bin/uv pip sync -q --python $(PY) --require-hashes requirements/dev.txt
	@touch .venv/run.stamp $@
