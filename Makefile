# Every target installs what it needs; `make demo` and `make test` work on a fresh clone.
# CONTRIBUTING.md says what each is for.

PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
VENV := .venv/stamp-$(shell cksum < pyproject.toml | cut -d' ' -f1)

# The oldest generator whose code every supported grpcio and protobuf loads: see pyproject.toml.
PROTO_TOOLS := grpcio-tools==1.76.0 mypy-protobuf==5.1.0
PROTO_VENV := build/proto-venv-$(shell echo $(PROTO_TOOLS) | cksum | cut -d' ' -f1)

SEEDS ?= 200
FROM ?= 0
NODES ?= 10

.PHONY: venv format check test sim oracle mutants bench bench-k8s demo cluster proto clean

venv: $(VENV)

$(VENV): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it with PYTHON=" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@rm -f .venv/stamp-* && touch $@

format: $(VENV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(VENV)
	$(BIN)/python -m tests.run_all --short

test: $(VENV)
	$(BIN)/python -m tests.run_all

sim: $(VENV)
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds 0:$(SEEDS))

oracle: $(VENV)
	$(BIN)/python -m tests.oracle --seeds $(SEEDS) --from $(FROM)

mutants: $(VENV)
	$(BIN)/python -m tests.simulation.mutants

bench: $(VENV)
	$(BIN)/python -m tests.bench

bench-k8s: $(VENV)
	$(BIN)/python -m tests.bench.k8s $(BENCH)

demo: $(VENV)
	$(BIN)/godel demo $(if $(TRACE),--trace $(TRACE))

cluster: $(VENV)
	@$(BIN)/python -m tests.controlplane --nodes $(NODES)

proto: $(VENV)
	@test -x $(PROTO_VENV)/bin/protoc-gen-mypy || { \
		$(PYTHON) -m venv $(PROTO_VENV) && \
		$(PROTO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PROTO_TOOLS); }
	rm -f proto/godel/v1/*_pb2*.py proto/godel/v1/*_pb2*.pyi
	PATH="$(CURDIR)/$(PROTO_VENV)/bin:$$PATH" $(PROTO_VENV)/bin/python -m grpc_tools.protoc --proto_path=proto \
		--python_out=proto --grpc_python_out=proto --mypy_out=quiet:proto --mypy_grpc_out=quiet:proto \
		proto/godel/v1/*.proto
	$(BIN)/python -m tests.tidy.proto_digest

clean:
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
