# make demo    install, then films → shards → two encoders → comparison → head → predictions, on a synthetic archive
#              (DEMO=full: more films and longer training)
# make test    install, then check and test (slow tests: make slow)
# make docs    install, then build/docs/index.html; a warning is an error
# A fresh machine needs Python ≥ 3.11 with venv, and a C compiler.
unexport MAE_RAD_KEY
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT := demo_output
SEED ?= 1
DEMO ?= quick
ifeq ($(DEMO),full)
PATIENTS ?= 1600
MAE := optimizer.steps=12000
SIMCLR := optimizer.steps=6000
HEAD := optimizer.steps=4000
else
PATIENTS ?= 600
endif

.PHONY: install demo test check slow docs clean

install: $(VENV)/.dev_installed

# Modules are compiled when they are first imported (--no-compile): most never are, and installing takes a third less.
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) '.[train]'
	touch $@

$(VENV)/.dev_installed: $(VENV)/.installed
	$(PIP) '.[train,export,dev]'
	touch $@

# The demonstration, as a user types it: every line also works for a real archive (leave phantom and --truth out).
# Both pretrainings run at the same time, each in one process on one core. SEED= makes another archive.
demo: export PATH := $(CURDIR)/$(BIN):$(PATH)
demo: export DS_ACCELERATOR := cpu
demo: export MLFLOW_DISABLE_TELEMETRY := true
demo: $(VENV)/.installed
	rm -rf $(OUT) && mkdir $(OUT)
	(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' > $(OUT)/secret.key)
	# 1. An archive: DICOM files as a hospital exports them, with findings that are known.
	mae-rad phantom $(OUT)/phantom --patients $(PATIENTS) --seed $(SEED) --level clear --scale 0.2
	# 2. Shards: de-identified, lossless, split by patient; then labels and boxes.
	mae-rad scan $(OUT)/phantom/archive --out $(OUT)/private key_file=$(OUT)/secret.key
	mae-rad shard $(OUT)/private --out $(OUT)/shards films_per_shard=250 splits.val=0.15 splits.test=0.4 \
	  runtime.max_reject_fraction=0.1
	mae-rad label $(OUT)/private --labels $(OUT)/phantom/truth/labels.csv --labels $(OUT)/phantom/truth/measurements.csv \
	  --boxes $(OUT)/phantom/truth/boxes.csv --out $(OUT)/shards
	mae-rad preview $(OUT)/shards --boxes --out $(OUT)/preview.png
	# 3. Two encoders that see no label, side by side.
	mae-rad pretrain --config demo_mae data.shards=$(OUT)/shards runtime.run_dir=$(OUT)/runs/mae \
	  $(MAE) & mae=$$!; \
	mae-rad pretrain --config demo_simclr data.shards=$(OUT)/shards runtime.run_dir=$(OUT)/runs/simclr \
	  $(SIMCLR); simclr=$$?; wait $$mae && exit $$simclr
	# 4. What they learned, between floors and ceiling.
	mae-rad bench measurement_vectors $(OUT)/shards --out $(OUT)/truth.parquet
	mae-rad compare $(OUT)/runs/mae $(OUT)/runs/simclr --config demo shards=$(OUT)/shards out=$(OUT)/runs/comparison \
	  'encoders=[{foreign: $(OUT)/truth.parquet, name: measurements, role: ceiling}]' $(COMPARE)
	# 5. A head that learns to find foreign objects from boxes, and its answers for films of patients who are in no shard.
	mae-rad finetune --config demo_foreign_object data.shards=$(OUT)/shards start_from=$(OUT)/runs/mae \
	  runtime.run_dir=$(OUT)/runs/foreign_object $(HEAD)
	mae-rad phantom $(OUT)/new --patients 10 --seed $(SEED)999 --level clear --scale 0.2
	mae-rad predict $(OUT)/runs/foreign_object $(OUT)/new/archive out=$(OUT)/answers || test $$? = 3    # 3: some files are not films
	# 6. The result on one screen.
	@mae-rad bench demo_summary $(OUT)/runs/comparison --head $(OUT)/runs/foreign_object --predictions $(OUT)/answers \
	  --truth $(OUT)/new/truth --longer 'make demo DEMO=full'

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: install check
	$(BIN)/python -m pytest -n 2 -m "not slow" --durations=15

# In a fixed order; after SLOW_MINUTES the tests that did not run are listed.
SLOW_MINUTES ?= 45
slow: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow --minutes $(SLOW_MINUTES) --durations=15

docs: $(VENV)/.docs_installed
	DS_ACCELERATOR=cpu $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo 'Open build/docs/index.html'

$(VENV)/.docs_installed: $(VENV)/.installed
	$(PIP) '.[train,docs]'
	touch $@

clean:
	rm -rf $(OUT) $(VENV) build *.egg-info
