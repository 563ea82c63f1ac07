# `make` lists every target with its description. Only git, make and Python 3.11 or newer with pip are required; the first
# target that needs more installs uv into .kpi/tools and the locked workspace into .venv.

PYTHON ?= python3
FILE ?=
ARGS ?=
# One more than the number of cores: tests wait for a process, a clock or a disk for a quarter of their time.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
ONLY ?=
ROUNDS ?= 5
SEED ?= 1
SECONDS ?= 4

UV := .kpi/tools/bin/uv
SERVICES := $(patsubst %/pyproject.toml,%,$(wildcard services/*/pyproject.toml))
PACKAGES := shared kit $(SERVICES) gateway cli
LOCKED := $(SERVICES) gateway
PROJECTS := pyproject.toml $(addsuffix /pyproject.toml,$(PACKAGES))

# The stamp's name has a checksum of the folder's path: after a checkout is moved, its virtual environment is created again.
STAMP := .venv/.installed-$(shell pwd | cksum | cut -d' ' -f1)

# If the Python of a virtual environment was upgraded or removed, the environment cannot start.
$(shell [ ! -e $(STAMP) ] || .venv/bin/python -c '' 2>/dev/null || rm -f $(STAMP))

# uv uses the installed Python, and never another virtual environment that happens to be active.
export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV
# Without bytecode files, each start of a part would compile about a thousand modules again.
unexport PYTHONDONTWRITEBYTECODE

# Sets the shell variable `python` to the first usable Python.
FIND_PYTHON = for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11 ""; do \
	[ -z "$$python" ] || ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || break; \
	done; \
	[ -n "$$python" ] || { echo "make: Python 3.11 or newer is required, and $(PYTHON) is not:" \
		"install it, or give its path, as in make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }

# Settings in the user's shell must not affect the tests, nor make them use the user's stack.
TEST_ENVIRONMENT = env -u KPI_HOME -u GATEWAY_PORT -u DATABASE_URL -u PASETO_SECRET_KEY -u PASETO_PREVIOUS_KEYS \
	-u PASETO_KEYS_FILE -u TOKEN_PURPOSE -u FEED_KEY -u FEED_PREVIOUS_KEYS \
	-u AUTH_SECRET_KEY -u AUTH_PREVIOUS_SECRET_KEYS -u CORS_ORIGINS -u APP_ENV -u LOG_LEVEL \
	-u AWS_SECRETS_ENABLED -u AWS_ENDPOINT_URL -u MAIL_URL -u PUBLIC_URL -u EVENTS_NATS_URL \
	-u RATE_LIMIT_ENABLED -u RATE_LIMIT_REQUESTS -u RATE_LIMIT_WINDOW -u RATE_LIMIT_POLICIES -u RATE_LIMIT_STORAGE_URL

.DEFAULT_GOAL := help
.PHONY: help up test check load bench drill compose-up compose-test clients-test lock install clean clean-data

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  Variables: make up GATEWAY_PORT=9000, make load FILE=posts.jsonl.gz, make test ARGS='-k votes'."

up: $(STAMP) ## Start the whole stack with its own database, and follow its logs until Ctrl-C
	@.venv/bin/kpi up

test: $(STAMP) ## Run every test; the data of make up is not touched
	@.venv/bin/python -m kpi_cli.stack.libsodium
	@$(TEST_ENVIRONMENT) .venv/bin/pytest -n $(WORKERS) --dist worksteal -m "not compose and not quiet and not clients" $(ARGS)
	@# Tests that compare times run alone. Exit code 5 means that ARGS selected none of them.
	@$(TEST_ENVIRONMENT) .venv/bin/pytest -m quiet $(ARGS) || [ $$? -eq 5 ]

check: $(STAMP) ## Run the static checks and test the migrations: style, types, architecture, migrations
	@.venv/bin/python -m kpi_cli.stack.libsodium
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	@# mypy takes as long as all that follows it, and runs beside it. Its report comes after theirs.
	@report=$$(mktemp) && { .venv/bin/mypy >"$$report" 2>&1 & types=$$!; }; \
	trap 'kill $$types 2>/dev/null; rm -f "$$report"' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	run() { echo "$$*"; "$$@" || exit; }; \
	run .venv/bin/python -m kpi_shared.testing.check_imports; \
	run .venv/bin/python -m kpi_shared.testing.check_sql $(SERVICES); \
	run $(TEST_ENVIRONMENT) .venv/bin/kpi openapi --check docs/openapi.json; \
	tests/clients/lint || exit; \
	run $(TEST_ENVIRONMENT) .venv/bin/python -m kpi_shared.testing.check_migrations $(SERVICES); \
	echo .venv/bin/mypy; wait $$types; code=$$?; cat "$$report"; exit $$code

load: $(STAMP) ## Load the sample posts with their authors and votes into the stack, running or stopped
	@.venv/bin/kpi load $(FILE)

bench: $(STAMP) ## Compare with other gateways and a monolith, write docs/performance.md (ONLY=gateway: one table)
	@[ -d bench ] || { echo "make: this project was made without the benchmark: .venv/bin/kpi upgrade --with bench" >&2; exit 1; }
	@bench/peers/install
	@$(UV) pip install -q -p .venv --require-hashes -r requirements-bench.txt
	@PYTHONPATH=bench .venv/bin/python -m kpi_bench $(if $(ONLY),--only $(ONLY)) --rounds $(ROUNDS) --seconds $(SECONDS)

drill: $(STAMP) ## Disturb a platform of six processes under load, print what holds (ONLY=silence: one row, SEED=2)
	@$(TEST_ENVIRONMENT) PYTHONPATH=tests/drill .venv/bin/python -m kpi_drill $(if $(ONLY),--only $(ONLY)) --seed $(SEED)

compose-up: ## Start the stack in containers (Docker with Compose v2), and wait until all are healthy
	docker compose up --build --wait

# A separate project and port, so that the test does not touch the volumes of compose-up and the data in them.
compose-test: export COMPOSE_PROJECT_NAME := kpi-one-test
compose-test: $(STAMP) ## Start the stack in containers, run the end-to-end tests against it, take it down
	@GATEWAY_PORT=$$(.venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'); \
	export RATE_LIMIT_ENABLED=false; \
	export GATEWAY_PORT KPI_GATEWAY_URL=http://127.0.0.1:$$GATEWAY_PORT; \
	docker compose up --build --wait; code=$$?; \
	[ $$code -ne 0 ] || { .venv/bin/pytest -m "e2e or compose" tests $(ARGS); code=$$?; }; \
	[ $$code -eq 0 ] || docker compose logs --tail 20; \
	docker compose down --volumes; exit $$code

clients-test: $(STAMP) ## Generate clients with other projects' generators, and run each against a started stack
	@tests/clients/install
	@$(TEST_ENVIRONMENT) .venv/bin/pytest -m clients tests/clients $(ARGS)

lock: $(STAMP) ## Compile the lock files from the pyproject.toml files (ARGS=--upgrade: to newer versions)
	@$(foreach part,$(LOCKED),echo "$(part)/requirements.txt" && $(COMPILE) $(part)/pyproject.toml -o $(part)/requirements.txt && ) \
	echo "requirements-dev.txt" && $(COMPILE) $(PROJECTS) --all-extras --group dev -o requirements-dev.txt && \
	$(if $(wildcard bench),echo "requirements-bench.txt" && $(COMPILE) --group pyproject.toml:bench -c requirements-dev.txt -o requirements-bench.txt &&) \
	echo "requirements-clients.txt" && $(COMPILE) --group pyproject.toml:clients -o requirements-clients.txt && \
	echo "requirements-uv.txt" && echo "$(UV_WANTED)" | $(COMPILE) - -o requirements-uv.txt

# The same range as in the packages' build requirements, so that uv builds them without downloading the build backend.
UV_WANTED := uv>=0.9,<0.14
COMPILE = $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header $(ARGS) \
	$(addprefix --no-emit-package kpi-,$(notdir $(PACKAGES)))

install: $(STAMP) ## Install uv into .kpi/tools and the locked workspace into .venv, and nothing else

clean: ## Remove installed packages and caches; keep the stack's data and keys
	rm -rf .venv .kpi/tools .kpi/clients .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# Finds a process that still uses $$home, without the virtual environment, which may be gone. A part has the stack's home
# in its environment, and PostgreSQL is recognised by its data directory, since postmaster.pid may be out of date.
LEFT_RUNNING = { \
	grep -slzxF "KPI_STACK=$$home" /proc/[0-9]*/environ | cut -d/ -f3; \
	pid=$$(head -n 1 "$$home/postgres/postmaster.pid"); \
	{ tr '\0' ' ' <"/proc/$$pid/cmdline" || ps -p "$$pid" -o args=; } | grep -qF -e "-D $$home/postgres " && echo "$$pid"; \
	} 2>/dev/null | head -n 1

clean-data: ## Delete the data, keys and logs of make up permanently
	@home=$$(pwd -P)/.kpi; \
	[ -z "$$KPI_HOME" ] || home=$$(cd "$$KPI_HOME" && pwd -P) || exit 1; \
	pid=$$($(LEFT_RUNNING)) || pid=; \
	[ -z "$$pid" ] || { echo "make: the stack of $$home is running (or was killed, and its process $$pid is left):" \
		"stop it first (after a kill: make up, then Ctrl-C)" >&2; exit 1; }; \
	for name in postgres postgres.draft secrets logs mails files ports.json migrations.json state.json; do \
		echo "rm -rf $$home/$$name"; rm -rf "$$home/$$name"; done

$(UV): requirements-uv.txt
	@$(FIND_PYTHON); \
	"$$python" -m pip --version >/dev/null 2>&1 || { echo "make: $$python has no pip:" \
		"sudo apt-get install python3-pip, or the equivalent on your system" >&2; exit 1; }; \
	echo "Installing uv into .kpi/tools"; \
	"$$python" -m pip install -q --disable-pip-version-check --root-user-action=ignore --only-binary :all: \
		--upgrade --target .kpi/tools --require-hashes -r requirements-uv.txt
	@touch $@

$(STAMP): $(UV) requirements-dev.txt $(PROJECTS)
	@$(FIND_PYTHON); \
	echo "Installing the locked workspace into .venv"; \
	rm -f .venv/.installed-*; \
	.venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		$(UV) venv -q --clear --python "$$("$$python" -c 'import sys; print(sys.executable)')" .venv
	@printf -- '-e ./%s\n' $(PACKAGES) | $(UV) pip sync -q -p .venv requirements-dev.txt -
	@# Relative paths: Python before 3.13 does not start if a path in these files has a character that the locale lacks.
	@root=$$(pwd -P); for file in .venv/lib/python*/site-packages/kpi_*.pth; do folder=$$(cat "$$file"); \
		case "$$folder" in "$$root"/*) printf '%s\n' "../../../..$${folder#"$$root"}" >"$$file.new" && mv "$$file.new" "$$file";; esac; \
		done
	@touch $@
