# The commands of the project; each one says in its comment what it promises.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH := operator

.PHONY: help demo demo-loop up down status check format crds dashboards golden bench test sbom test-fast test-images test-apiserver test-faults test-attacks test-e2e test-e2e-listed faults mutants

help:            ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## +/\t/' | expand -t 16

demo: up         ## from an empty machine to a trained, versioned, served model, and a prediction
	$(BIN)/python hack/demo.py

demo-loop: up    ## drift, retrain, gate, mirror, canary: one promotion, one rejection, one rollback
	$(BIN)/python hack/loop.py

up: $(VENV)/.ready  ## start the local cluster with KServe, a gateway, Prometheus and Noria
	$(PYTHON) hack/cluster up

down:            ## end what `up` started; logs, .venv and the cache of tools and images stay
	$(PYTHON) hack/cluster down

status:          ## what runs, and where
	$(PYTHON) hack/cluster status

# Debian keeps the standard library's ensurepip in a package of its own.
$(VENV)/.ready: requirements-dev.txt
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3-venv; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .  # the command noria
	touch $@

check: $(VENV)/.ready  ## format, lint, types, layers, CRD drift: seconds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m noria crds --check crds
	$(BIN)/python hack/dashboards.py --check charts/noria/files/dashboards

format: $(VENV)/.ready  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crds: $(VENV)/.ready  ## render crds/ from the models
	$(BIN)/python -m noria crds crds

dashboards: $(VENV)/.ready  ## render the chart's Grafana dashboards
	$(BIN)/python hack/dashboards.py charts/noria/files/dashboards

golden: $(VENV)/.ready  ## renew plan.yaml of the golden cases, for review
	$(BIN)/pytest -q tests/golden --rewrite

test-fast: check  ## everything that needs no cluster: seconds
	$(BIN)/pytest -q -n auto tests/golden tests/unit tests/convergence

test-apiserver: $(VENV)/.ready  ## a real etcd and API server; the queries in a real Prometheus
	$(PYTHON) hack/cluster tools
	$(BIN)/pytest -q tests/apiserver tests/promql

test-faults: $(VENV)/.ready  ## what faults cost and do, on a real etcd and API server: the counts and a sample
	$(PYTHON) hack/cluster tools
	$(BIN)/pytest -q tests/faults

mutants: $(VENV)/.ready  ## 200 small mistakes in plan/, drawn at random: how many the fast tests notice (docs/faults.md)
	$(BIN)/python hack/mutants.py 200

test-attacks: $(VENV)/.ready  ## what a tenant may try: refused, or harmless; what the operator may: what it uses (SECURITY.md)
	$(PYTHON) hack/cluster tools
	$(BIN)/pytest -q tests/attacks tests/rights

faults: $(VENV)/.ready  ## every fault at every write of every scenario, and 100,000 orders of what may happen: hours (docs/faults.md)
	$(PYTHON) hack/cluster tools
	NORIA_SCHEDULES=100000 $(BIN)/pytest -q -n auto tests/convergence/test_schedules.py
	$(BIN)/pytest -q tests/faults --every-fault

bench: $(VENV)/.ready  ## TrainingJobs beside Kubeflow Trainer and bare Jobs, on a machine at rest: an hour (bench/README.md)
	$(PYTHON) hack/cluster tools
	$(BIN)/python bench/trainings.py

sbom: $(VENV)/.ready  ## what is in each image, as CycloneDX, in .cluster/sbom
	$(PYTHON) hack/cluster images
	$(BIN)/python hack/sbom.py

test-images: sbom  ## agent, trainer and server, each in its own image
	$(BIN)/python tests/images/run.py agent trainer server

test-e2e: up     ## the promise, on the real cluster; then which of its rights the operator used
	$(BIN)/pytest -q tests/e2e
	$(BIN)/pytest -q tests/evidence

test-e2e-listed: up  ## the same in one listed namespace, without what is of Workspaces
	$(BIN)/pytest -q tests/e2e --listed
	$(BIN)/pytest -q tests/evidence --listed

test:            ## everything that CI runs; ends what it started
	hack/test
