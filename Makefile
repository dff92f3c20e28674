# `make` lists the targets. Every one builds what it needs; ARGS="..." is handed on to the command.

BIN := .venv/bin
FAST_TESTS := tests/architecture tests/unit tests/contract

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-long check format lock environment clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: environment ## store a creator's media and go on serving until Ctrl-C (ARGS=--exit stops when stored)
	@$(BIN)/mediavault demo --data demo-data $(ARGS)

test: environment ## every test but the long ones; starts PostgreSQL and Ceph's S3; installs what is missing, if root
	@scripts/postgres run scripts/ceph run scripts/browser run scripts/strace run $(BIN)/python -m pytest $(ARGS)

test-long: environment ## the long tests too: every kill point and every fault of the disk, for hours
	@scripts/postgres run scripts/ceph run scripts/browser run scripts/strace run $(BIN)/python -m pytest -m "long or not long" $(ARGS)

test-fast: environment ## the tests that take under a minute and need no server
	@$(BIN)/python -m pytest -m "not postgres and not ceph and not slow" $(FAST_TESTS) $(ARGS)

check: environment ## lint, format, types, imports, and whether the lock is stale
	@scripts/bootstrap check-lock
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config importlinter.toml

format: environment ## put the source in order: formatting, imports, what ruff can mend by itself
	@$(BIN)/ruff check --fix-only --exit-zero --quiet .
	@$(BIN)/ruff format .

lock: ## write requirements.lock from pyproject.toml (ARGS=--upgrade takes newer versions)
	@scripts/bootstrap lock $(ARGS)

clean: ## stop the test servers and remove the environment and the caches, never demo-data
	@scripts/postgres stop
	@scripts/ceph stop
	@rm -rf .venv .tools .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@scripts/bootstrap
