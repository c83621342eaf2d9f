# Every target sets up what it needs. VENV= and PYTHON= choose where and with which interpreter.
VENV ?= .venv
PYTHON ?= python3
PORT ?= 8000
BIN := $(VENV)/bin
READY := $(VENV)/.ready
EXTRAS := hospital,openvino,training,evaluation,tracing,dev

.PHONY: setup demo serve test fuzz page ray lint sbom bench faults train-phantom train-reference lock clean

setup: $(READY)

# uv picks the torch build that fits the hardware where PyTorch's own index can be reached, else the plain one.
$(READY): pyproject.toml constraints.txt $(wildcard app/inference/native/source/*)
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

# Thousands of generated requests, hostile files and option sets against the real server; `make test` sends hundreds.
fuzz: setup
	$(BIN)/python -m pytest -q tests/app/fuzz --long

# Screenshots of the page in build/page, and the README's; with Debian's Chromium.
page: setup
	README_PICTURE=1 $(BIN)/python -m pytest -q tests/app/web

# The tests on a Ray cluster, in an environment of their own: Ray brings event loops and servers, and 100 MB.
RAY := .venv-ray
ray:
	$(MAKE) setup VENV=$(RAY) EXTRAS=$(EXTRAS),ray
	$(RAY)/bin/python -m pytest -q --long tests/app/server/test_ray.py tests/app/server/test_ray_replica.py tests/app/bulk/test_ray.py tests/deploy/test_ray.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.deploy.manifests

# Trains the phantom checkpoint from nothing: data, training, export, scores into the manifest.
PHANTOM := runs/phantom
train-phantom: setup
	$(BIN)/python -m model_training phantom --out $(PHANTOM)/data --studies 4000 --seed 1 --size 192
	$(BIN)/python -m model_training train --data $(PHANTOM)/data --config phantom --out $(PHANTOM) --fresh
	$(BIN)/python -m model_training anatomy --run $(PHANTOM) --masks $(PHANTOM)/data --epochs 6 --test
	$(BIN)/python -m model_training calibrate --run $(PHANTOM) --data $(PHANTOM)/data
	$(BIN)/python -m model_training export --run $(PHANTOM) --out $(PHANTOM)/xray-report-phantom.pt
	$(BIN)/python -m model_training evaluate $(PHANTOM)/xray-report-phantom.pt --data $(PHANTOM)/data --out $(PHANTOM)/evaluation
	$(BIN)/python -m model_training export --run $(PHANTOM) --out $(PHANTOM)/xray-report-phantom.pt --evaluation $(PHANTOM)/evaluation/evaluation.json

# Trains the checkpoint for real radiographs. Interrupted, the same command goes on; with training done, it goes on behind it.
# SEED=2 and SEED=3 repeat it, to tell luck from recipe.
REFERENCE := runs/reference
SEED := 1
RUN = $(REFERENCE)/seed-$(SEED)
DATA = $(XRAY_REPORT_DATA)/radiographs
train-reference: setup
	@test -d "$(DATA)" || { echo "XRAY_REPORT_DATA must name the folder that holds radiographs/, iu_xray/, anatomy/, covid/, ood/ and pretrained/"; exit 2; }
	@if [ ! -f $(RUN)/training.pt ] || [ -f $(RUN)/state.pt ]; then \
	  $(BIN)/python -m model_training train --data $(DATA) --out $(RUN) --cache $(REFERENCE)/cache --config reference \
	    --set training.seed=$(SEED) --set data.reports=$(XRAY_REPORT_DATA)/iu_xray \
	    --set model.encoder_weights=$(XRAY_REPORT_DATA)/pretrained/mobilenet_v2_imagenet.pt; fi
	@if [ ! $(RUN)/anatomy_head.pt -nt $(RUN)/training.pt ]; then \
	  $(BIN)/python -m model_training anatomy --run $(RUN) --masks $(XRAY_REPORT_DATA)/anatomy; fi
	@if [ ! $(RUN)/wording.pt -nt $(RUN)/training.pt ]; then $(BIN)/python -m model_training wording --run $(RUN); fi
	$(BIN)/python -m model_training calibrate --run $(RUN) --data $(DATA) --cache $(REFERENCE)/cache
	@if [ ! $(RUN)/ood_head.pt -nt $(RUN)/training.pt ]; then \
	  $(BIN)/python -m model_training intake --run $(RUN) --data $(DATA) \
	    --also $(XRAY_REPORT_DATA)/covid --also $(XRAY_REPORT_DATA)/anatomy --films 250 --phantoms 160 --negatives 80; fi
	$(BIN)/python -m model_training export --run $(RUN) --out $(RUN)/xray-report-reference.pt
	$(BIN)/python -m model_training evaluate $(RUN)/xray-report-reference.pt --data $(DATA) --out $(RUN)/evaluation \
	  --films hannover=$(DATA)/hannover --films indiana=$(XRAY_REPORT_DATA)/iu_xray/images --films anatomy=$(XRAY_REPORT_DATA)/anatomy/images --films covid=$(XRAY_REPORT_DATA)/covid/images \
	  --others ood=$(XRAY_REPORT_DATA)/ood
	$(BIN)/python -m model_training export --run $(RUN) --out $(RUN)/xray-report-reference.pt --evaluation $(RUN)/evaluation/evaluation.json
	$(BIN)/python -m model_training card $(RUN)/xray-report-reference.pt --out $(RUN)/MODEL_CARD.md

# The peers have an environment of their own: they bring servers and event loops that would change ours.
# ARGS=--short takes five minutes.
BENCH := .venv-bench
bench:
	$(MAKE) setup VENV=$(BENCH) EXTRAS=$(EXTRAS),bench
	$(BENCH)/bin/python -m benchmarks $(ARGS)

# Load and faults on a real server; `make faults RUNS=soak` goes on for half an hour;
# RUNS=--short tries the first out, a few seconds of each phase, and writes nothing.
RUNS :=
faults: setup
	$(BIN)/python -m benchmarks.faults $(RUNS)

# Plain pins without any index's address; GPU libraries follow torch and are not pinned.
lock: setup
	$(BIN)/uv pip compile --quiet --universal --no-header --no-emit-index-url --no-annotate --all-extras pyproject.toml \
	  | grep -vE '^(nvidia-|cuda-|triton)' > constraints.txt.new && mv constraints.txt.new constraints.txt

# What an installation of the service consists of, as CycloneDX JSON: the pinned serving dependencies with their hashes.
sbom: setup
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url --generate-hashes -c constraints.txt pyproject.toml \
	  | $(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o sbom.json -
	@echo sbom.json

clean:
	rm -rf $(VENV) runs
