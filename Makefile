# Two commands matter: `make demo` and `make test`. Each makes .venv and installs what it needs,
# in the versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Not compiled: most modules are never imported. Those that are get compiled then, and once only, also
# where the shell tells Python to write no bytecode.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE
# One process or thread of ours a core, so one thread each for BLAS: more would only wait for each other.
RUN = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python
PYTEST = $(RUN) -m pytest -n auto --dist loadfile
BENCH = PYTHONPATH=tests NUMBA_NUM_THREADS=1 $(RUN) tests/benchmarks
# Which notebooks `make docs` executes: cache (those that changed since this folder's last build),
# recent (those touched in the last day's commits, for CI), all, or none.
NOTEBOOKS ?= cache

.PHONY: demo test coverage test-fast test-thorough lint types bench bench-docs soak docs docs-full lock clean help

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo  ## two gap-free years from real Sentinel-2 data, into demo-output/
	$(BIN)/s2cube demo --out demo-output

test: lint types  ## lint, formatting, types, and every test
	$(PYTEST)

coverage: $(VENV)/.test  ## every test, and which lines they reach; slower
	$(PYTEST) --cov --cov-report=term

test-fast: $(VENV)/.test  ## the quick tests only
	$(PYTEST) -m "not slow and not thorough"

test-thorough: $(VENV)/.test  ## before a release: tests that train networks, and many more examples
	HYPOTHESIS_PROFILE=thorough $(PYTEST) -m "thorough or not thorough"

lint: $(VENV)/.test  ## ruff, rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test  ## mypy, strict
	$(BIN)/mypy

bench: $(VENV)/.test  ## speed beside peers, one thread, as tables
	$(BENCH)

bench-docs: $(VENV)/.test  ## the same, and into docs/benchmarks.md
	$(BENCH) --write docs/benchmarks.md

soak: $(VENV)/.test  ## 200 kills of writers, and what is left, into docs/soak.md; an hour or more
	PYTHONPATH=tests $(RUN) tests/soak.py --kills 200 --rounds 20 --write docs/soak.md

docs: $(VENV)/.docs  ## the documentation, into docs/_build/html; runs its examples
	NOTEBOOKS=$(NOTEBOOKS) $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(RUN) docs/check_pages.py

docs-full:  ## the documentation, every notebook executed anew
	$(MAKE) docs NOTEBOOKS=all

lock:  ## constraints.txt anew: a freeze of everything, in an environment of its own
	rm -rf .cache/lock && $(PYTHON) -m venv .cache/lock
	# torch first: asked for by range it would bring gigabytes of CUDA.
	.cache/lock/bin/python -m pip install --quiet --upgrade pip torch==2.13.0
	.cache/lock/bin/python -m pip install --quiet -e ".[test,docs]"
	{ echo "# Made by 'make lock': versions that were tested together."; \
	  .cache/lock/bin/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//' \
	  | grep -vE '^(-e|s2cube-ard)'; } > constraints.txt
	rm -rf .cache/lock

clean:  ## delete what the other commands have made
	rm -rf $(VENV) .cache demo-output docs/_build docs/generated docs/notebooks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A stamp a set of extras, so that a second run installs nothing.
$(VENV)/.demo $(VENV)/.test $(VENV)/.docs: $(VENV)/.%: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing s2cube-ard[$*] into $(VENV)"
	$(INSTALL) -e ".[$*]"
	@touch $@
