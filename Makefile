# make test       everything, on Debian as root: it builds the lab and uses it
# make test-unit  what needs neither root nor Debian
# make bench-ha   how long clients of a cluster are without service (an hour; goes on where it was stopped)
# make bench      smbplan against Ansible, pyinfra, octoDNS and plain scripts (an hour; goes on where it was stopped)
# make torture    every trouble at every kind of step (some hours; goes on where it was stopped)
SHELL := /bin/bash
BIN = $(shell scripts/setup --print-venv)/bin

.PHONY: setup setup-user demo test test-unit bench bench-ha torture check check-tools schemas docs clean

setup:
	@scripts/setup

setup-user:
	@scripts/setup --user

demo: setup
	@PATH="$(BIN):$$PATH" scripts/demo

test: setup
	@$(MAKE) --no-print-directory check-tools
	@# Four workers on two cores: a third of the lab's time is waiting.
	$(BIN)/python -m pytest -n 4 --dist worksteal

test-unit: setup-user
	$(BIN)/python -m pytest -m 'not lab'

bench: setup
	$(BIN)/python -m bench

bench-ha: setup
	$(BIN)/python -m bench.ha

torture: setup
	PYTHONPATH=tests $(BIN)/python -m torture

check: setup-user
	@$(MAKE) --no-print-directory check-tools

check-tools:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

schemas: setup-user
	@# Through a second file: a failure must not empty the published schema.
	$(BIN)/python -m smbplan.spec.schema > schemas/.smbplan.schema.json.part
	mv schemas/.smbplan.schema.json.part schemas/smbplan.schema.json

docs: setup-user
	$(BIN)/python -m smbplan.report.reference docs

clean:
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find smbplan tests -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf "$$(scripts/setup --print-venv)"
