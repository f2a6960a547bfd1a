# Every target sets up what it needs: `make demo` and `make test` work on a fresh clone.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
NEED_GB := 12

.PHONY: help setup demo demo-eeg demo-speech test lint bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make .venv with everything for demo, tests and development

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "braindec needs Python 3.11 or newer; found `$(PYTHON) --version`. Say make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@free=`df -Pk . | awk 'NR==2 {print int($$4/1048576)}'`; [ $$free -ge $(NEED_GB) ] || \
	  { echo "set-up needs $(NEED_GB) GB of free disk here; found $$free GB. Free some, or move the clone" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) (about a minute, 6.5 GB, once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt uv
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@rm -f $(VENV)/.installed-* && touch $@

demo: setup  ## simulate two subjects, decode held-out scenes to pictures and captions, evaluate, write the report
	@$(BIN)/braindec demo

demo-eeg: setup  ## the same from simulated EEG: pixels, concept and words from channels x time
	@$(BIN)/braindec demo experiment=demo_eeg run_dir=outputs/demo_eeg

demo-speech: setup  ## find the heard speech segment in simulated MEG; a report with players and spectrograms
	@$(BIN)/braindec demo experiment=demo_speech run_dir=outputs/demo_speech

test: setup  ## run all tests, with coverage, a process a core
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --cov=braindec --cov-report=term:skip-covered $(ARGS)

lint: setup  ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: setup  ## CPU benchmarks, each a ratio against its peer in the same run
	@for f in benchmarks/*_cpu.py; do echo "== $$f"; $(BIN)/python $$f || exit 1; done

clean:  ## remove the environment and caches, keep outputs
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
