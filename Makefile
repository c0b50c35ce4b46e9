# Every target sets up what it needs. What is installed is installed again only when pyproject.toml changes.
#
#   make test PYTHON=python3.12    with another Python: .venv is made anew where it has a different version
#   make test VENV=/tmp/venv       with the environment in another place

VENV := .venv
BIN  := $(VENV)/bin
JOBS ?= 2
# Without a choice, the Python of an environment that is there; else the system's.
PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
# The stamps carry the version, so that another Python is another environment.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

MADE      := $(VENV)/made-$(VERSION)
INSTALLED := $(VENV)/installed-$(VERSION)
DEVELOPED := $(VENV)/developed-$(VERSION)
PIP       := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The peers of the benchmarks have an environment of their own.
PEERS     := build/peers
COMPARED  := $(PEERS)/installed-$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help train test check check-pages soak bench bench-sklearn bench-growth format clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

train: $(INSTALLED) ## train the two-layer digit network on MNIST; leaves runs/digits
	$(BIN)/chainrule train mnist --network examples/digits.formula --epochs 5 --batch-size 128 --optimizer rmsprop --out runs/digits

test: check ## format, lint, types, import contract, then all tests and doctests
	$(BIN)/python -m pytest -n $(JOBS) -q

check: $(DEVELOPED) ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(DEVELOPED) ## the long tests
	$(BIN)/python -m pytest -n $(JOBS) -q -m soak -o timeout=0

check-pages: $(DEVELOPED) ## the pages as PDFs and browser pictures in build/pages (needs chromium and pdflatex)
	$(BIN)/python -m tests.check_pages

bench: $(COMPARED) ## chainrule beside its peers (CASE="A B" for some cases): benchmarks/results
	$(PEERS)/bin/python -m benchmarks $(CASE)
	$(if $(CASE),,$(PEERS)/bin/python -m benchmarks.sklearn_quality)

bench-sklearn: $(COMPARED) ## the estimators beside scikit-learn's, scores and times, on its own data sets: benchmarks/results
	$(PEERS)/bin/python -m benchmarks.sklearn_quality

bench-growth: $(COMPARED) ## how the cost grows with width, batch, depth and rows: benchmarks/results
	$(PEERS)/bin/python -m benchmarks.growth

format: $(DEVELOPED) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what can be made again
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist

# An environment of this version that works is kept; one that a broken or another Python left is made anew.
$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "chainrule needs Python 3.11 or later, and $(PYTHON) is not: make PYTHON=python3.12 …" >&2; exit 1; }
	@test "$$($(BIN)/python -c 'import pip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$(VERSION)" || \
	  $(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(INSTALLED): pyproject.toml | $(MADE)
	$(PIP) --editable .
	@touch $@

$(DEVELOPED): pyproject.toml | $(MADE)
	$(PIP) --editable '.[dev]'
	@touch $@ $(INSTALLED)

$(COMPARED): pyproject.toml benchmarks/requirements.txt | $(MADE)
	$(BIN)/python -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt --editable .
	@touch $@
