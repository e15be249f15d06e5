# Two commands do everything, installs included: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PY := .venv/bin/python

.PHONY: demo test lint up down bench venv lock generate

demo: venv            ## the main job, from an empty machine to a healed incident
	$(PY) tests/demo/run.py

test: venv            ## all tests, in order of cost
	$(PY) tests/run_all.py $(TEST_ARGS)

lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PY) -m docuquery_operator crds --check

up: venv              ## start the local cluster (kind with Docker, else a real node without it)
	$(PY) deploy/local/cluster.py up

down:                 ## stop it and leave nothing behind
	python3 deploy/local/cluster.py down

bench: venv           ## measure, beside a naive kopf handler and the tools of each trade, into build/bench.json
	$(PY) tests/benchmarks/packages.py
	$(PY) tests/benchmarks/run.py
	$(PY) tests/benchmarks/run_data.py
	$(PY) tests/benchmarks/run_faults.py

generate: venv        ## write crds/ from the models
	$(PY) -m docuquery_operator crds --write

venv: .venv/.ready

.venv/.ready: requirements/dev.txt pyproject.toml
	@bash deploy/local/venv.sh
	@touch $@

lock:                 ## refresh requirements/ (hashes, no addresses)
	uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --universal --python-version 3.11 pyproject.toml -o requirements/runtime.txt
	uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --universal --python-version 3.11 --extra apprise -c requirements/runtime.txt pyproject.toml requirements/dev.in -o requirements/dev.txt
	uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --universal --python-version 3.11 -c requirements/dev.txt requirements/apprise.in -o requirements/apprise.txt
