# The commands people and CI use. `make demo` and `make test` need only git, make and Python 3.11+.
BIN := .venv/bin
# Tests wait for servers more than they compute.
TEST_PROCESSES ?= 3
SEEDS ?= 10000

.PHONY: demo up test test-cluster simulate check format bench statements docs lock proto clean run-env dev-env

demo: run-env ## Three jobs, three verdicts, on a fresh machine, in seconds
	@$(BIN)/cordumctl demo

up: run-env ## Keep the stack running in the foreground (Ctrl-C ends it; FRESH=1 starts over)
	@$(BIN)/cordumctl up $(if $(FRESH),--fresh)

test: dev-env ## Every test, against real servers; with ARGS="..." pytest takes these instead
ifdef ARGS
	$(BIN)/pytest $(ARGS)
else
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile -m "not alone"
	$(BIN)/pytest -m alone
endif

test-cluster: dev-env ## Redis Sentinel and Cluster, NATS with three nodes, mTLS, failovers: real ones, on loopback
	CORDUM_TLS_REDIS="$$(tools/redis_with_tls.sh)" $(BIN)/pytest tests/cluster $(ARGS)

simulate: dev-env ## Schedulers under loss, doubling, reordering and crashes: 10,000 seeds (SEEDS=..., ARGS="--seed 15 --trace")
	$(BIN)/python -m tests.simulation $(if $(ARGS),$(ARGS),--seeds $(SEEDS))

check: dev-env ## Format, lint, types, import contracts, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/gen_docs.py --check

format: dev-env ## Mend what tools can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: dev-env ## The measured table of bench/RESULTS.md (BENCH_ARGS="--only submit --repeat 1")
	$(BIN)/python -m bench $(BENCH_ARGS)

statements: dev-env ## Which statements of the production guide have a passing test
	$(BIN)/python tools/statements.py

docs: dev-env ## Rewrite the generated reference pages
	$(BIN)/python tools/gen_docs.py

proto: dev-env ## Rewrite src/cordum/rpc/gen from proto/
	$(BIN)/python tools/gen_proto.py

lock: ## Rewrite requirements/*.txt (needs uv)
	tools/lock.sh

run-env:
	@tools/bootstrap.sh run

dev-env:
	@tools/bootstrap.sh dev

clean:
	rm -rf .venv .cordum .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/out
