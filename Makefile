# Every command of this project. `make` alone lists them; each one creates the environment it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
ENV := $(VENV)/.made-from-requirements
BENCH := .venv-bench
BENCH_ENV := $(BENCH)/.made-from-requirements

.DEFAULT_GOAL := help
.PHONY: help env demo test test-unit check format lint types contracts requirements weights table-digits table-trashnet table-augmentation table-views table-step table-outlines table-replay-families table-huggingface-architectures table-predict-speed table-techniques table-text-replay table-distillation table-banking77 table-ablation table-recommendation sheet-odd-pictures bench bench-env clean

help:  ## List the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

env: $(ENV)  ## Make the environment in .venv (Python 3.11 or newer is all it needs)

$(ENV): requirements/uv.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "frostline needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say which: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "$(PYTHON) cannot make environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(ENV)  ## Fine-tune on scanned digits, prove that the freeze held, write a page (under 90 s)
	$(BIN)/frostline demo

test: $(ENV)  ## Run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-unit: $(ENV)  ## Run the tests that take seconds
	$(BIN)/python -m pytest -m "not recipe"

check: format lint types contracts test  ## Format, lint, types, import contracts, tests: what CI runs

format: $(ENV)  ## Check the format (`.venv/bin/ruff format` mends it)
	$(BIN)/ruff format --check .

lint: $(ENV)
	$(BIN)/ruff check .

types: $(ENV)
	$(BIN)/mypy

contracts: $(ENV)  ## Check that lower folders never import higher ones
	$(BIN)/lint-imports

requirements: $(ENV)  ## Make the pinned, hashed requirement files again
	sh requirements/make.sh $(UV)

weights: $(ENV)  ## Make the weights that the package ships again (minutes): runs/pretrain-glyphs
	$(BIN)/python studies/glyph_weights.py

table-digits: $(ENV)  ## Make the table of docs/studies/digits.md again (minutes)
	$(BIN)/python studies/digits.py

table-trashnet: $(ENV)  ## Make the table of docs/studies/trashnet.md again (needs ../shared/data)
	$(BIN)/python studies/trashnet.py

table-augmentation: $(ENV)  ## Make the table of docs/studies/augmentation.md again (an hour; needs ../shared/data)
	OMP_NUM_THREADS=1 $(BIN)/python studies/augmentation.py

table-views: $(ENV)  ## Make the table of docs/studies/views.md again (half an hour; needs ../shared/data)
	OMP_NUM_THREADS=1 $(BIN)/python studies/views.py

table-step: $(ENV)  ## Make the table of docs/studies/step.md again (minutes)
	$(BIN)/python studies/step.py

table-outlines: $(ENV)  ## Make the table of docs/studies/outlines.md again (minutes)
	$(BIN)/python studies/outlines.py

table-replay-families: $(ENV)  ## Make the table of docs/studies/replay_families.md again (an hour)
	OMP_NUM_THREADS=1 $(BIN)/python studies/replay_families.py

table-huggingface-architectures: $(ENV)  ## Make the table of docs/studies/huggingface_architectures.md again (a quarter of an hour)
	OMP_NUM_THREADS=1 $(BIN)/python studies/huggingface_architectures.py

table-predict-speed: $(ENV)  ## Make the table of docs/studies/predict_speed.md again (minutes)
	$(BIN)/python studies/predict_speed.py

table-text-replay: $(ENV)  ## Make the table of docs/studies/text_replay.md again (a quarter of an hour; needs ../shared/data)
	$(BIN)/python studies/text_replay.py

table-distillation: $(ENV)  ## Make the table of docs/studies/distillation.md again (half an hour; needs ../shared/data)
	$(BIN)/python studies/distillation.py

table-banking77: $(ENV)  ## Make the table of docs/studies/banking77.md again (two hours; needs ../shared/data)
	OMP_NUM_THREADS=1 $(BIN)/python studies/banking77.py

table-ablation: $(ENV)  ## Make the table of docs/studies/ablation.md again (40 minutes; needs ../shared/data)
	OMP_NUM_THREADS=1 $(BIN)/python studies/ablation.py

table-recommendation: $(ENV)  ## Make the table of docs/studies/recommendation.md again (needs ../shared/data)
	$(BIN)/python studies/recommendation.py

table-techniques: $(BENCH_ENV)  ## Make the table of docs/studies/techniques.md again (an hour and a half; needs ../shared/data)
	$(BENCH)/bin/python studies/techniques.py

sheet-odd-pictures: $(ENV)  ## Make docs/studies/odd_pictures.png again
	$(BIN)/python studies/odd_pictures.py

bench: $(BENCH_ENV)  ## Measure the workloads beside other tools (hours; OPTIONS="--share 0.25"): docs/benchmarks
	$(BENCH)/bin/python benchmarks/run.py $(OPTIONS)

bench-env: $(BENCH_ENV)  ## Make the environment of the benchmarks in .venv-bench: ours, and the tools beside it

$(BENCH_ENV): requirements/bench.in requirements/dev.txt pyproject.toml | $(ENV)
	$(UV) venv --quiet --clear --python $(BIN)/python $(BENCH)
	$(UV) pip install --quiet --python $(BENCH)/bin/python -r requirements/dev.txt -r requirements/bench.in
	$(UV) pip install --quiet --python $(BENCH)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

clean:  ## Remove the environment and what tools left behind; runs stay
	rm -rf $(VENV) .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
