# make demo and make test are all that a fresh machine needs; see README.md and CONTRIBUTING.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
# Processes for tests without a real model, each of which keeps one core busy.
WORKERS ?= 2
MINUTES ?= 30

.PHONY: demo test test-fast fuzz coverage lint docs site bench-llama-cpp

demo: $(INSTALLED)
	$(BIN)/specli demo

# Tests with a real model use every core, and some slow ones have a time budget: one by one.
test: test-fast
	$(BIN)/python -m pytest -m "real or slow" $(ARGS)

test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) -m "not real and not slow" $(ARGS)

# Inputs that nobody has tried yet, for every way in; a seed of each finding is printed.
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.hostile --minutes $(MINUTES) $(ARGS)

coverage: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) -m "not real and not slow" --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --skip-covered
	$(BIN)/coverage report --fail-under=90 \
		--include='specli/engine/*,specli/drafters/*,specli/sampling/*'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/cli_docs.py --check

docs: $(INSTALLED)
	$(BIN)/python scripts/cli_docs.py

site: docs
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --strict

bench-llama-cpp: $(INSTALLED)
	$(BIN)/python scripts/bench_llama_cpp.py $(ARGS)

# llama.cpp is compiled here, for some minutes, unless pip has the wheel from an earlier time.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	flags="$$($(PYTHON) scripts/cmake_args.py)" && \
		CMAKE_ARGS="$$flags" $(BIN)/python -m pip install --editable '.[dev]'
	touch $@
