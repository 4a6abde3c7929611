# The README's two commands are `make demo` and `make test`; both set themselves up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test check slow install clean

demo: $(STAMP)  ## the whole road on one task, then where the report is
	$(BIN)/regrasp run transfer_cube

test: $(STAMP)  ## the fast tests
	$(BIN)/pytest

slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/pytest -m slow

check: $(STAMP)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "regrasp needs Python >= 3.11, this is " + sys.version)'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist src/regrasp.egg-info
