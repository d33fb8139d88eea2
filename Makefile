# make demo: install, then films → shards → two encoders → comparison, on a synthetic archive.
# make test: install, then check and test. A fresh machine needs Python ≥ 3.11 with venv, and a C compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: install demo test check slow clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,dev]'
	touch $@

demo: install
	PATH="$(CURDIR)/$(BIN):$$PATH" bash configs/demo/run.sh demo_output

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: install check
	$(BIN)/python -m pytest -n 2 -m "not slow"

slow: install
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf demo_output $(VENV) build *.egg-info
