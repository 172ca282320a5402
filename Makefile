# Every target makes or refreshes the virtual environment by itself; a fresh machine needs Python 3.11 and nothing else.
#
#   make demo            one study from nothing to a scored model      ARGS=--json for one JSON line at the end
#   make test            everything that CI runs                      PYTEST_WORKERS=0 for one process, PYTEST_ARGS for more
#   make test-long       the tests that take over 20 s each, which train networks on many seeds
#   make chaos           every fault in large amounts, hours; the invariants' table at the end   CHAOS_REPORT=file.json
#   make mutants         the tests, tested: break promises one at a time    ARGS="--into docs/reliability.md" for its table
#   make check           format, lint, types, import contracts, containers
#   make fmt             format and repair what can be repaired
#   make bench           what serving and training cost and bring, with the peers   ARGS=--quick for some minutes in all
#   make bench-search    how well samplers and pruners choose, hours  ARGS="--cache FILE" to go on where it was interrupted
#   make clean           remove what these targets made

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := test
MAKEFLAGS += --no-print-directory
# A recipe that names $(MAKE) itself would be run by `make -n`, tests and all.
SUBMAKE := $(MAKE)
# Tests start some hundred processes: where bytecode is not kept, each of them compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

VENV ?= .venv
PYTHON ?= $(shell for candidate in python3.11 python3 python3.12 python3.13; do \
	if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$candidate; break; fi; done)
ARGS ?=
# More than the cores of a small machine, because tests wait for disks, processes and leases; each of them takes some
# 10 s of CPU time for what it imports and collects.
PYTEST_WORKERS ?= 4
PYTEST_ARGS ?=
CHAOS_TESTS ?= tests/faults tests/contracts/test_state_machine.py \
	$(addprefix tests/integration/test_,openapi.py bad_input.py full_disks.py memory.py)
export CHAOS_REPORT ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.bench-installed
PYTHON_FOLDERS := $(wildcard shared master worker tests benchmarks examples)
DOCKERFILES := Dockerfile.master Dockerfile.worker

.PHONY: demo test test-long chaos mutants check fmt bench bench-search clean venv

venv: $(STAMP)

# What pip prints goes to stderr: the last line of stdout belongs to the command that was asked for.
$(STAMP): pyproject.toml constraints.txt
	@if [ ! -x "$(BIN)/python" ]; then \
		if [ -z "$(PYTHON)" ]; then \
			echo "Tunefleet needs Python 3.11 or newer with its venv module; none was found." >&2; \
			echo "Install one, or name it: make $(or $(MAKECMDGOALS),test) PYTHON=/path/to/python3.11" >&2; exit 2; \
		fi; \
		echo "Making $(VENV) with $$($(PYTHON) --version)" >&2; \
		$(PYTHON) -m venv "$(VENV)"; \
	fi
	@echo "Installing the pinned packages into $(VENV); the first time takes a few minutes" >&2
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling >&2
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-build-isolation -e '.[master,search,worker,telemetry,dev]' >&2
	@touch "$(STAMP)"

demo: $(STAMP)
	@"$(BIN)/tunefleet" demo $(ARGS)

# The types take one core for a minute, so the checks run beside the tests; what they found stands below the tests.
test: $(STAMP)
	@found=$$(mktemp); $(SUBMAKE) check >"$$found" 2>&1 & checks=$$!; \
	trap 'kill $$checks 2>/dev/null || true; rm -f "$$found"' EXIT; \
	tested=0; "$(BIN)/python" -m pytest -n $(PYTEST_WORKERS) --dist worksteal $(PYTEST_ARGS) || tested=$$?; \
	checked=0; wait $$checks || checked=$$?; cat "$$found"; exit $$((tested ? tested : checked))

test-long: $(STAMP)
	@"$(BIN)/python" -m pytest -n $(PYTEST_WORKERS) --dist worksteal -m slow --timeout 1200 $(PYTEST_ARGS)

# One test after another: each of them has the machine, and its own processes, to itself.
chaos: $(STAMP)
	@CHAOS=1 "$(BIN)/python" -m pytest -p no:xdist $(PYTEST_ARGS) $(CHAOS_TESTS)

mutants: $(STAMP)
	@"$(BIN)/python" -m tests.mutants $(ARGS)

check: $(STAMP)
	@"$(BIN)/ruff" format --quiet --check $(PYTHON_FOLDERS) \
		|| { echo "Some files are not formatted as ruff would; make fmt does it" >&2; exit 1; }
	@"$(BIN)/ruff" check --quiet $(PYTHON_FOLDERS)
	@"$(BIN)/mypy" $(PYTHON_FOLDERS)
	@"$(BIN)/lint-imports" --no-logo
	@"$(BIN)/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.yml
	@"$(BIN)/hadolint" $(DOCKERFILES)

fmt: $(STAMP)
	@"$(BIN)/ruff" check --quiet --fix-only $(PYTHON_FOLDERS)
	@"$(BIN)/ruff" format $(PYTHON_FOLDERS)

$(BENCH_STAMP): $(STAMP)
	@echo "Installing what the benchmarks compare with" >&2
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		--no-build-isolation -e '.[bench]' >&2
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps syne-tune >&2
	@touch "$(BENCH_STAMP)"

bench: $(BENCH_STAMP)
	@for script in $(filter-out benchmarks/search.py,$(wildcard benchmarks/*.py)); do \
		echo "$$script" >&2; "$(BIN)/python" "$$script" $(ARGS); \
	done

bench-search: $(BENCH_STAMP)
	@"$(BIN)/python" benchmarks/search.py $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(PYTHON_FOLDERS) -name __pycache__ -type d -prune -exec rm -rf {} +
