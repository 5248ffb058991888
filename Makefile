# Every target sets up what it needs in .venv, on a machine with only make and Python 3.11 or newer.

PYTHON ?= python3
CHAIN ?= solana
ARGS ?=
SEEDS ?= 100
SEED ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
PACKAGES := actors protocol sdk storage transport worker

.PHONY: help demo demo-paid local-chains run test check format bench chaos fuzz audit lock clean

help:
	@echo "make demo                      run real jobs through a coordinator and workers on this machine"
	@echo "make demo-paid                 pay for jobs with play money on two chains of this machine"
	@echo "make local-chains              both chains on this machine, with play money: ARGS=\"--fund ADDRESS\""
	@echo "make run CHAIN=solana|monad    start a coordinator; more flags in ARGS=\"--port 5000\""
	@echo "make test                      every gate: format, lint, types, layers, tests"
	@echo "make check                     the gates without the tests"
	@echo "make format                    rewrite the code in the project's format"
	@echo "make bench                     measure speed and write the table in benchmarks/"
	@echo "make chaos SEEDS=500           inject faults, reproducible by seed; SEED=123 runs one seed alone"
	@echo "make fuzz                      attack the parsers with fresh random requests and frames"
	@echo "make audit                     look for known weaknesses in the dependencies, or check them against the lock"
	@echo "make lock                      write the lock of dependencies anew"
	@echo "make clean                     remove .venv and everything that was built"
	@echo "PYTHON=python3.12              use another Python for the set-up"

demo: $(VENV)/.runtime
	@$(BIN)/compute-router demo $(ARGS)

demo-paid: $(VENV)/.dev
	@$(BIN)/python -m tools.demo_paid $(ARGS)

local-chains: $(VENV)/.dev
	@exec $(BIN)/python -m tools.local_chains $(ARGS)

# Paid jobs need packages that free ones do without.
run: $(if $(findstring --payments,$(ARGS))$(COMPUTE_ROUTER_PAYMENTS),$(VENV)/.payments,$(VENV)/.runtime)
	@exec $(BIN)/python run_coordinator.py --chain $(CHAIN) $(ARGS)

test: check
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev .ns/compute_router
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(addprefix -p compute_router.,$(PACKAGES))
	$(BIN)/mypy tests benchmarks tools run_coordinator.py
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: $(VENV)/.dev
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

# The time limit of a single test is for the short run.
fuzz: $(VENV)/.dev
	$(BIN)/python -m pytest tests/fuzz --hypothesis-profile=fuzz -o faulthandler_timeout=1800 $(ARGS)

audit: $(VENV)/.dev
	@$(BIN)/python -m tools.audit $(ARGS)

lock: $(VENV)/.dev
	@$(BIN)/python -m tools.lock $(ARGS)

clean:
	rm -rf $(VENV) .ns build dist compute_router.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.runtime: setup.cfg pyproject.toml
	@$(PYTHON) -c '' 2>/dev/null || { \
		echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Compute Router needs Python 3.11 or newer; $(PYTHON) is" \
			"$$($(PYTHON) -c 'import platform; print(platform.python_version())')." \
			"Name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; it downloads the dependencies) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.payments: $(VENV)/.runtime
	@echo "Installing what payments need (once) ..."
	@$(PIP) install --editable '.[payments]'
	@touch $@

# Exactly what the lock names, and only files with its hashes.
$(VENV)/.dev: $(VENV)/.runtime requirements.lock
	@echo "Installing the development tools ..."
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# Type checkers do not see through an editable install that renames directories; they see this link.
.ns/compute_router:
	@mkdir -p .ns
	@ln -s .. $@
