# Two commands matter: `make run` and `make test`. Settings come from the environment, from `.env`
# or from the command line: make run PORT=8100 EXTRA_PORTS=8008,8090,8000

PYTHON ?= python3
PY := .venv/bin/python
LAUNCH := exec $(PY) -m config.launcher
BOOTSTRAP := @$(PYTHON) config/launcher/bootstrap.py
FRESH := $(LAUNCH) with-servers
ARGS ?=
LANE ?= flow
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help run dev demo stop logs shell worker beat test check format openapi reference lock bench chaos mutants fuzz

help:                ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

run:                 ## everything on http://127.0.0.1:8006 (PORT, HOST, EXTRA_PORTS, DATA_DIR)
	$(BOOTSTRAP) embedded
	@$(LAUNCH) up

dev:                 ## the same with DEBUG and restarts on source changes
	$(BOOTSTRAP) embedded
	@$(LAUNCH) dev

demo:                ## the main job on demo/documents, watched from the terminal (ARGS: other documents)
	$(BOOTSTRAP) embedded
	@exec $(PY) -m demo $(ARGS)

stop:                ## stop a running one
	$(BOOTSTRAP) embedded
	@$(LAUNCH) stop

logs:                ## follow its log
	$(BOOTSTRAP) embedded
	@$(LAUNCH) logs

shell:               ## Django's shell on the product's data
	$(BOOTSTRAP) embedded
	@$(LAUNCH) inside -- $(PY) manage.py shell

worker:              ## one more worker (LANE=flow|io|files)
	$(BOOTSTRAP) embedded
	@$(LAUNCH) worker $(LANE)

beat:                ## one more beat
	$(BOOTSTRAP) embedded
	@$(LAUNCH) beat

test:                ## the whole suite (ARGS are pytest's)
	$(BOOTSTRAP) dev
	@$(FRESH) --fast -- $(PY) -m pytest -p tests.isolation -n 2 $(ARGS)

check:               ## linters, types, layers, migrations, openapi.yaml, docs/reference
	$(BOOTSTRAP) dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy .
	.venv/bin/lint-imports
	@$(FRESH) --fast -- $(PY) manage.py makemigrations --check --dry-run
	$(PY) manage.py spectacular --fail-on-warn --file .mypy_cache/openapi.yaml
	diff -u openapi.yaml .mypy_cache/openapi.yaml
	$(PY) manage.py write_reference --check

format:              ## format the code
	$(BOOTSTRAP) dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

openapi:             ## write openapi.yaml
	$(BOOTSTRAP) dev
	$(PY) manage.py spectacular --fail-on-warn --file openapi.yaml

reference:           ## write docs/reference
	$(BOOTSTRAP) dev
	$(PY) manage.py write_reference

lock:                ## pin requirements/*.in again, with hashes (ARGS=--upgrade for newer versions)
	@$(PYTHON) -m venv .venv/lock
	@.venv/lock/bin/python -m pip install --quiet uv
	@cd requirements && for name in base embedded dev bench gcs azure; do \
	  ../.venv/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    $(ARGS) $$name.in -o $$name.txt || exit 1; \
	done

bench:               ## measurements next to bare Celery and DBOS
	$(BOOTSTRAP) bench
	@exec $(PY) -m bench $(ARGS)

chaos:               ## SIGKILL everywhere, then look whether anything was lost
	$(BOOTSTRAP) dev
	@exec $(PY) -m tests.chaos $(ARGS)

mutants:             ## planted bugs that chaos must find
	$(BOOTSTRAP) dev
	@$(FRESH) -- $(PY) -m tests.chaos.mutants $(ARGS)

fuzz:                ## damaged documents of every format: text or a code, and nothing else
	$(BOOTSTRAP) dev
	@$(FRESH) --fast -- $(PY) -m tests.fuzz $(ARGS)
