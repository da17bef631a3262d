# Every entry point of the project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9

# What `make run` reads and writes. DATA empty: the embedded synthetic log. KEEP_UP=1 leaves the stack of its rollout up.
DATA ?=
RECIPE ?=
OUT ?= runs
STORE ?=
KEEP_UP ?=

# Folders that tests and benchmarks read when they are there; the product never needs them.
export MGOE_DATA ?= $(abspath $(wildcard ../shared/data))
export MGOE_CRDS ?= $(abspath $(wildcard ../shared/crds))

# uv reads its own names for pip's settings. Without a folder of local wheels, torch comes as its CPU build.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
ifeq ($(strip $(UV_FIND_LINKS)),)
export UV_TORCH_BACKEND ?= cpu
endif
INSTALL := VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --constraint constraints/all.txt --override constraints/overrides.txt

# Debian packages that some tests need: a real S3 server, an image builder.
# Chromium is a browser before the console. Java runs TorchServe; PostgreSQL is the evidence store of a cluster; Prometheus brings promtool, which checks alerts.
APT_PACKAGES := radosgw ceph-mon ceph-osd ceph-common buildah debootstrap openjdk-17-jre-headless \
	postgresql prometheus chromium
# Where this user can install all that, a test that is skipped for want of it fails (tests/plugins/requirement.py).
REQUIRED := java,torchserve,postgres,s3,promtool,signing,bench,torchrec,setpriv,images,chromium
export MGOE_REQUIRE ?= $(if $(filter 0,$(shell id -u)),$(REQUIRED))
PYTEST_WORKERS ?= auto
# One thread a worker: two workers with two threads each on two cores wait for each other most of the time.
# A file stays on one worker, so that its costly fixtures are made once.
PYTEST ?= OMP_NUM_THREADS=1 $(BIN)/pytest -n $(PYTEST_WORKERS) --dist loadfile

##@ Use

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z0-9_-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.run ## A log to two compared and registered models, and a rollout before simulated users: make run [DATA=folder] [RECIPE=name] [OUT=runs] [STORE=s3://bucket/prefix] [KEEP_UP=1]
	@$(BIN)/mgoe run $(if $(DATA),--data "$(DATA)") $(if $(RECIPE),--recipe "$(RECIPE)") --out "$(OUT)" $(if $(STORE),--store "$(STORE)") $(if $(KEEP_UP),--keep-up)

##@ Check

.PHONY: test
test: lint types contracts pytest ## Everything that CI checks: lint, format, types, import contracts, tests

.PHONY: pytest
pytest: $(VENV)/.dev $(VENV)/.apt ## The default tests (under 15 minutes on two cores)
	@$(PYTEST) --hypothesis-profile=same -m "not slow and not cluster"

.PHONY: test-all
test-all: lint types contracts $(VENV)/.apt ## The default tests and the slow ones
	@$(PYTEST) -m "not cluster"

.PHONY: statistics-coverage
statistics-coverage: $(VENV)/.dev ## The experiment statistics' own tests reach every branch of them
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/serving/experiment --cov=serving/experiment --cov-branch \
		--cov-report=term-missing:skip-covered --cov-fail-under=100

.PHONY: lint
lint: $(VENV)/.dev ## ruff: rules and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy

.PHONY: contracts
contracts: $(VENV)/.dev ## import-linter: who may import whom
	@$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.dev ## Format and mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: golden
golden: $(VENV)/.dev ## Rewrite the golden files (compiled pipelines, schedule, component pages, gateway, CRD)
	@$(BIN)/python -m pipelines.golden
	@$(BIN)/python -m serving.gateway.golden
	@$(BIN)/python -m helm.golden
	@$(BIN)/python -m serving.rollout.golden

.PHONY: e2e
e2e: $(VENV)/.dev ## The chart in a cluster, a rollout promoted, aborted, broken off: make e2e KUBECONFIG=FILE (docs/e2e.md)
	@test -f "$(KUBECONFIG)" || { echo "make: name a cluster's kubeconfig: make e2e KUBECONFIG=FILE" >&2; exit 2; }
	@MGOE_E2E_KUBECONFIG="$(abspath $(KUBECONFIG))" OMP_NUM_THREADS=1 $(BIN)/pytest tests/e2e_cluster

##@ Measure

.PHONY: bench
bench: $(VENV)/.dev $(VENV)/.apt ## Every table with machine facts -> benchmarks/results (hours; minutes with QUICK=1): make bench [QUICK=1] [ONLY=speed,graph] [REPEAT=3]
	@$(BIN)/python -m benchmarks.suite $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)") $(if $(REPEAT),--repeat $(REPEAT))

.PHONY: bench-check
bench-check: $(VENV)/.dev ## Ratios of new results against the committed ones; fails where one is worse by more than noise: make bench-check [QUICK=1] [ONLY=...] [AGAINST=commit-or-folder]
	@$(BIN)/python -m benchmarks.check $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)") $(if $(AGAINST),--against "$(AGAINST)")

.PHONY: bench-speed
bench-speed: $(VENV)/.dev ## Graph counting and training steps against their peers -> benchmarks/results/speed.md
	@$(BIN)/python -m benchmarks.speed

.PHONY: bench-graph
bench-graph: $(VENV)/.dev ## The sharded graph build by size: seconds, memory, disk -> benchmarks/results/graph.md
	@$(BIN)/python -m benchmarks.graph --edges 10e6,100e6

.PHONY: bench-quality
bench-quality: $(VENV)/.dev ## All architectures and trees on KuaiRand-Pure (hours): make bench-quality DATA=folder
	@$(BIN)/python -m benchmarks.quality --data "$(if $(DATA),$(DATA),$(MGOE_DATA)/kuairand_pure)"

.PHONY: bench-serving
bench-serving: $(VENV)/.dev ## Ranking servers under load against plain servers, in turns (18 minutes) -> benchmarks/results/serving.md
	@$(BIN)/python -m benchmarks.serving

.PHONY: bench-scale
bench-scale: $(VENV)/.dev ## One server of 10 M users and 1 M items: memory, time to load, p99 -> benchmarks/results/scale.md
	@$(BIN)/python -m benchmarks.scale

.PHONY: bench-evidence
bench-evidence: $(VENV)/.dev $(VENV)/.apt ## Outcomes a second into PostgreSQL and SQLite at several sizes -> benchmarks/results/evidence.md
	@$(BIN)/python -m benchmarks.evidence

.PHONY: bench-statistics
bench-statistics: $(VENV)/.dev ## Error rates, coverage and power of watched experiments, 78 real ones (20 minutes) -> benchmarks/results/statistics.md
	@$(BIN)/python -m benchmarks.statistics

.PHONY: bench-faults
bench-faults: $(VENV)/.dev ## A stack under users is hurt in sixteen ways: time to weight 0, what is lost (10 minutes) -> benchmarks/results/faults.md
	@$(BIN)/python -m benchmarks.faults

##@ Build

.PHONY: images
images: ## Build the train, serve, pipeline and control images with docker or buildah (BASE=, TAG=, PREFIX=, ENGINE=)
	@images/build.sh

.PHONY: chart
chart: $(VENV)/.dev ## Lint and package the Helm chart -> dist/
	@$(BIN)/python -m helm.package dist

##@ Set up

.PHONY: setup
setup: $(VENV)/.dev ## Create the environment without running anything

$(VENV)/.uv:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not installed; mgoe needs Python 3.11 (set PYTHON=... to name it)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

$(VENV)/.run: $(VENV)/.uv pyproject.toml constraints/all.txt
	@echo "Installing mgoe into $(VENV) (once; a minute or two) ..."
	@$(INSTALL) --editable '.[train,pipeline,control,gateway,serve]'
	@touch $@

$(VENV)/.dev: $(VENV)/.uv pyproject.toml constraints/all.txt
	@echo "Installing mgoe and its development tools into $(VENV) (once; a minute or two) ..."
	@$(INSTALL) --editable '.[train,pipeline,control,gateway,serve,sign,torchrec,dev,bench]'
	@touch $@ $(VENV)/.run

$(VENV)/.apt: Makefile | $(VENV)/.uv
	@images/apt.sh $(APT_PACKAGES)
	@touch $@

.PHONY: constraints
constraints: $(VENV)/.uv ## Resolve the pinned sets again from pyproject.toml
	@constraints/resolve.sh $(BIN)/uv

.PHONY: clean
clean: ## Remove the environment and caches (never runs/)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build dist
