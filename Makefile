# make demo and make test are all that a fresh machine needs; see README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

.PHONY: demo test lint docs bench-llama-cpp

demo: $(INSTALLED)
	$(BIN)/specli run "Write a Python function that computes a factorial" -n 128

test: $(INSTALLED)
	$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/cli_docs.py --check

docs: $(INSTALLED)
	$(BIN)/python scripts/cli_docs.py

bench-llama-cpp: $(INSTALLED)
	$(BIN)/python scripts/bench_llama_cpp.py $(ARGS)

# llama.cpp is compiled here, for some minutes, unless pip has the wheel from an earlier time.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	flags="$$($(PYTHON) scripts/cmake_args.py)" && \
		CMAKE_ARGS="$$flags" $(BIN)/python -m pip install --editable '.[dev]'
	touch $@
