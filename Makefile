# The few commands that people type. Everything lives in .venv; uv is taken from the PATH or put into .uv.
.DEFAULT_GOAL := all
.PHONY: all help setup repro test proofs faults lint lab serve bento image

export UV_PYTHON_DOWNLOADS := never
# where it is set, as in many containers, every import takes twice as long
export PYTHONDONTWRITEBYTECODE :=
# usage statistics of what is called here without nextclick
export BENTOML_DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
PYTHON ?= python3
# what pipeline.engine=ray needs is installed with RAY=1, and then stays
RAY := $(or $(RAY),$(wildcard .venv/.ready-ray))
READY := .venv/.ready$(if $(RAY),-ray)

all: repro

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

repro: setup ## the pipeline, on the built-in simulated shop; `make` alone does the same
	@.venv/bin/jupytext --quiet --sync notebooks/*.ipynb
	.venv/bin/dvc repro
	@echo
	@.venv/bin/dvc metrics show reports/metrics/evaluate.json
	@echo "Read reports/notebooks/*.ipynb, or open the notebooks with: make lab"

setup: $(READY) ## the environment in .venv, with the versions of uv.lock

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv

$(READY): pyproject.toml uv.lock $(if $(filter .uv/bin/uv,$(UV)),.uv/bin/uv)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "nextclick needs Python 3.11 to 3.13; name one with: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	VIRTUAL_ENV= $(UV) sync --locked --extra stream --extra serve --extra monitor $(if $(RAY),--extra ray) --python $(PYTHON)
	@touch $@

# On two cores side by side; BESIDE=0 runs the tests one after the other.
BESIDE ?= 2
test: setup ## every claim in its small form
	.venv/bin/python -m pytest -n $(BESIDE)

# ONLY=stream-chaos for one, AGAIN=1 for what is done already; see tests/claims.toml.
proofs: setup ## every claim at full size, some hours; writes docs/proofs.md
	.venv/bin/python scripts/proofs.py $(if $(ONLY),--only $(ONLY)) $(if $(AGAIN),--again)

faults: setup ## the table of faults in docs/faults.md, of the tests that inject them
	.venv/bin/python -m pytest --collect-only -q tests --faults-page docs/faults.md > /dev/null

lint: setup ## style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

lab: setup ## JupyterLab on the notebooks
	.venv/bin/jupyter lab --ip 127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) notebooks

serve: setup ## the service and its page on http://127.0.0.1:3000
	.venv/bin/bentoml serve nextclick.serving.service:NextClick

# What the image installs, in the versions of uv.lock.
build/requirements.txt: pyproject.toml uv.lock | setup
	@mkdir -p build
	VIRTUAL_ENV= $(UV) export --locked --only-group image --no-hashes --no-header --no-annotate --quiet -o $@

# The same as a CycloneDX list, for those who look for advisories.
build/bill-of-materials.json: pyproject.toml uv.lock | setup
	@mkdir -p build
	VIRTUAL_ENV= $(UV) export --locked --only-group image --format cyclonedx1.5 --quiet -o $@ 2> /dev/null

bento: build/requirements.txt build/bill-of-materials.json ## the service as BentoML packs it
	.venv/bin/bentoml build

# BACKEND=buildah where there is no Docker; BASE=localhost/python:3.11-slim for a base image of one's own.
BACKEND ?= docker
BASE ?= python:3.11-slim
IMAGE ?= nextclick:latest
image: build/requirements.txt build/bill-of-materials.json ## its container image
	sed 's|python_version:.*|base_image: $(BASE)|' bentofile.yaml > build/bentofile.yaml
	.venv/bin/bentoml build -f build/bentofile.yaml
	.venv/bin/bentoml containerize nextclick:latest --backend $(BACKEND) -t $(IMAGE)-built $(OPTIONS)
	$(BACKEND) build --no-cache --force-rm -f scripts/image/Containerfile --build-arg BASE=$(BASE) --build-arg BUILT=$(IMAGE)-built -t $(IMAGE) build
