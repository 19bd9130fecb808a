# Each target makes what it needs. `make help` prints them.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
ARGS   ?=
READERS ?= $(HOME)/.cache/samref/readers

.DEFAULT_GOAL := help
.PHONY: help run test check format browser readers attack bench train evaluate clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## start the app on example images at http://127.0.0.1:7860
	$(PY) app.py $(ARGS)

test: $(VENV)/.installed-dev ## run the whole suite, browser tests included where Chromium is present
	@if command -v node >/dev/null; then node --test tests/unit/web_js/*.test.mjs; else echo "node is missing: JavaScript tests not run" >&2; exit 1; fi
	$(PY) -m pytest $(ARGS)

check: $(VENV)/.installed-dev ## lint, format, types, layers
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.installed-dev ## repair what ruff can repair
	$(PY) -m ruff check --fix . && $(PY) -m ruff format .

browser: $(VENV)/.installed-dev ## run the browser tests only
	$(PY) -m pytest -m browser $(ARGS)

readers: $(VENV)/.installed-dev ## have the programs that exports are for read them, in an environment of their own
	test -x $(READERS)/bin/python || sh tests/readers/install.sh $(READERS)
	SAMREF_READERS=$(READERS) $(PY) -m pytest tests/readers -s $(ARGS)

attack: $(VENV)/.installed-dev ## attack the server at full size, see docs/reliability.md
	SAMREF_ATTACK=full $(PY) -m pytest tests/attack -s $(ARGS)

bench: $(VENV)/.installed-dev ## measure times and memory on this machine
	OMP_NUM_THREADS=$$(getconf _NPROCESSORS_ONLN) $(PY) -m pytest tests/bench -s $(ARGS)

train: $(VENV)/.installed ## train a model: make train ARGS="--help"
	$(PY) -m samref train $(ARGS)

evaluate: $(VENV)/.installed ## measure a model: make evaluate ARGS="--data DIR --model tiny"
	$(PY) -m samref evaluate $(ARGS)

clean: ## remove caches and build outputs; keeps the environment
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find app.py samref tests -name __pycache__ -prune -exec rm -rf {} +

$(PY):
	$(PYTHON) -m venv $(VENV)

# Installed again only when one of the two files has changed since.
$(VENV)/.installed: pyproject.toml requirements.txt | $(PY)
	$(PY) -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml requirements.txt | $(PY)
	$(PY) -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed
