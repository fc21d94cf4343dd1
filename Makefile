PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench clean

demo: $(VENV)/.installed ## train and test SGAL on the embedded digits, print the result table
	$(BIN)/python -m zsl_lab

test: $(VENV)/.installed ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/.installed ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed ## speed and memory, as ratios to a raw PyTorch loop
	$(BIN)/python experiments/bench/steps.py
	$(BIN)/pytest -q -s tests/data/test_store.py -k awa2_sized

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean: ## remove the environment
	rm -rf $(VENV)
