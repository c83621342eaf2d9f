# Every target sets up what it needs. VENV= and PYTHON= choose where and with which interpreter.
VENV ?= .venv
PYTHON ?= python3
PORT ?= 8000
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := training,evaluation,dev

.PHONY: setup demo serve test lint bench faults train-phantom lock clean

setup: $(READY)

# uv picks the torch build that fits the hardware where PyTorch's own index can be reached, else the plain one.
$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend=auto -c constraints.txt -e '.[$(EXTRAS)]' 2>/dev/null \
	  || $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: setup
	@$(BIN)/python -m app.demo

serve: setup
	$(BIN)/xray-report serve --port $(PORT)

test: setup
	$(BIN)/python -m pytest -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Trains the phantom checkpoint from nothing: data, training, export, scores into the manifest.
PHANTOM := runs/phantom
train-phantom: setup
	$(BIN)/python -m model_training phantom --out $(PHANTOM)/data --studies 4000 --seed 1 --size 160
	$(BIN)/python -m model_training train --data $(PHANTOM)/data --config phantom --out $(PHANTOM) --fresh
	$(BIN)/python -m model_training export --run $(PHANTOM) --out $(PHANTOM)/xray-report-phantom.pt
	$(BIN)/python -m model_training evaluate $(PHANTOM)/xray-report-phantom.pt --data $(PHANTOM)/data --out $(PHANTOM)/evaluation
	$(BIN)/python -m model_training export --run $(PHANTOM) --out $(PHANTOM)/xray-report-phantom.pt --evaluation $(PHANTOM)/evaluation/evaluation.json

bench: setup
	$(BIN)/python -m benchmarks

# Load and faults on a real server; `make faults RUNS=soak` goes on for half an hour.
RUNS :=
faults: setup
	$(BIN)/python -m benchmarks.faults $(RUNS)

# Plain pins without any index's address; GPU libraries follow torch and are not pinned.
lock: setup
	$(BIN)/uv pip compile --quiet --universal --no-header --no-emit-index-url --no-annotate --all-extras pyproject.toml \
	  | grep -vE '^(nvidia-|cuda-|triton)' > constraints.txt.new && mv constraints.txt.new constraints.txt

clean:
	rm -rf $(VENV) runs
