# The README's two commands are `make demo` and `make test`; both set themselves up.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# pyright brings its own Node.js and need not ask whether there is a newer pyright.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test slow check smoke install clean

help:  ## what can be made
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST)

demo: $(STAMP)  ## the whole road on one task, then where the report is
	$(BIN)/regrasp run transfer_cube

test: $(STAMP)  ## the fast tests, a file at a time on every core
	$(BIN)/pytest --numprocesses auto --dist loadfile --durations 40

slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/pytest -m slow

check: $(STAMP)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

smoke: $(STAMP)  ## a wheel of the last commit, used from another folder
	.ci/smoke

install: $(STAMP)  ## the project and its tools in .venv

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "regrasp needs Python >= 3.11, this is " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## forget .venv and what was built
	rm -rf $(VENV) build dist src/regrasp.egg-info
