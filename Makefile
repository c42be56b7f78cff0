# make install create .venv and install requirements.txt
# make demo    train GRPO and an entropy-controlled run, write the report
# make test    run the tests
# make test-fast  run the tests that need no training run and no large graph
# make lint    ruff, mypy and the check of our prose

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# A file's tests share graphs. Long files go first; see tests/conftest.py.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

# Huge pages for large arrays: decoding on a CPU gains some 15 %.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: install demo test test-fast lint format clean

install: $(INSTALLED)

demo: $(INSTALLED)
	$(RUN) -m experiments.demo

test: $(INSTALLED)
	$(RUN) -m pytest $(WORKERS) tests

test-fast: $(INSTALLED)
	$(RUN) -m pytest $(WORKERS) -m "not slow" tests

lint: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m tests.helpers.prose

format: $(INSTALLED)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

$(INSTALLED): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache .mypy_cache
