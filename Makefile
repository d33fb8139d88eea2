# make demo    install, then films → shards → two encoders → comparison → head → predictions, on a synthetic archive
# make test    install, then check and test (slow tests: make slow)
# make docs    install, then build/docs/index.html; a warning is an error
# A fresh machine needs Python ≥ 3.11 with venv, and a C compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := demo_output
DEMO_PATIENTS ?= 160

.PHONY: install demo test check slow docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,export,dev]'
	touch $@

# Two ranks share two cores; the commands are the same for a real archive.
demo: export PATH := $(CURDIR)/$(BIN):$(PATH)
demo: export DS_ACCELERATOR := cpu
demo: install
	rm -rf $(DEMO) && mkdir $(DEMO)
	(umask 077 && python -c 'import secrets; print(secrets.token_hex(32))' > $(DEMO)/secret.key)
	python -m data_prep phantom $(DEMO)/phantom --patients $(DEMO_PATIENTS) --seed 1 --level hard
	env -u MAE_RAD_KEY python -m data_prep scan $(DEMO)/phantom/archive --out $(DEMO)/private key_file=$(DEMO)/secret.key
	python -m data_prep shard $(DEMO)/private --out $(DEMO)/shards \
	  max_side=1024 films_per_shard=200 splits.val=0.15 splits.test=0.35 runtime.max_reject_fraction=0.1
	python -m data_prep label $(DEMO)/private --labels $(DEMO)/phantom/truth/labels.csv \
	  --boxes $(DEMO)/phantom/truth/boxes.csv \
	  --reports $(DEMO)/phantom/reports/german.csv $(DEMO)/phantom/reports/english --out $(DEMO)/shards
	python -m data_prep verify $(DEMO)/shards
	python -m data_prep preview $(DEMO)/shards --out $(DEMO)/preview.png
	deepspeed --num_accelerators 2 launch/pretrain.py --config configs/pretrain/demo_mae.yaml
	deepspeed --num_accelerators 2 launch/pretrain.py --config configs/pretrain/demo_simclr.yaml
	python launch/compare.py $(DEMO)/runs/mae $(DEMO)/runs/simclr --config configs/compare/default.yaml \
	  shards=$(DEMO)/shards out=$(DEMO)/runs/comparison random_seeds=[0]
	deepspeed --num_accelerators 2 launch/finetune.py --config configs/finetune/demo_foreign_object.yaml
	python launch/predict.py $(DEMO)/runs/foreign_object \
	  $$(ls -d $(DEMO)/phantom/archive/*/ | head -3) out=$(DEMO)/predictions || test $$? = 3    # 3: some files are not films
	@echo
	@echo 'Pictures:   $(DEMO)/preview.png   $(DEMO)/runs/mae/samples   $(DEMO)/runs/comparison'
	@echo 'Try next:   python launch/embed.py $(DEMO)/runs/mae shards=$(DEMO)/shards out=embeddings.parquet'

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
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,docs]'
	touch $@

clean:
	rm -rf $(DEMO) $(VENV) build *.egg-info
