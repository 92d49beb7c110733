# `make demo` and `make test` do all set-up themselves, in .venv, on a machine with Python 3.11+ only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-long lint words lock clean

demo: $(READY)
	$(BIN)/unitalk-bitrix24 demo

# Most tests wait for sockets and timers, so four at a time suit two cores.
test: lint
	$(BIN)/pytest -n 4 --dist worksteal -m "not slow"

test-long: $(READY)
	$(BIN)/python -m tests.long

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# After a change of texts: adds the new ones to the catalogues, compiles them, lists what is not translated.
words: $(READY)
	$(BIN)/python -m tests.words

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

# After a change of dependencies in pyproject.toml; addresses stay out of the file.
lock:
	$(BIN)/pip-compile --quiet --extra dev --generate-hashes --strip-extras --allow-unsafe \
		--no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
		--output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
