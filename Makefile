PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
export OMP_NUM_THREADS ?= 1
# compiling the modules of the tests takes as long as importing them
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-long coverage lint format docs bench reproduce clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/.demo ## train and test SGAL on the embedded digits, print the result table
	$(BIN)/python -m zsl_lab

test: $(VENV)/.installed ## the whole test suite, on two cores
	$(BIN)/pytest -n 2 --dist worksteal

test-fast: $(VENV)/.installed ## the tests that take no more than a moment
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

test-long: $(VENV)/.installed ## the whole test suite, with 400 damaged files of each kind
	ZSL_LAB_EXAMPLES=400 $(BIN)/pytest -n 2 --dist worksteal

coverage: $(VENV)/.installed ## the whole test suite, with the lines that it does not reach
	$(BIN)/pytest -n 2 --dist worksteal --cov=zsl_lab --cov-report=term-missing:skip-covered

lint: $(VENV)/.installed ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed ## sort imports and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed ## the documents as a site, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed ## speed and memory, as ratios to a raw PyTorch loop
	env -u OMP_NUM_THREADS $(BIN)/python experiments/bench/steps.py
	$(BIN)/pytest -q -s tests/data/test_cache.py -k awa2_sized

# where the data are that `make reproduce` takes
DATA ?= $(or $(ZSL_LAB_DATA),../shared/data)

reproduce: $(VENV)/.installed ## every experiment of the papers in seconds a job, missing data replaced; DATA=DIR
	$(BIN)/python experiments/papers/reproduce.py "$(DATA)" outputs/reproduce $(EXPERIMENTS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e ".[dev]"
	touch $@ $(VENV)/.demo

clean: ## remove the environment and the built reference
	rm -rf $(VENV) site
