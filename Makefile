# Everything runs in .venv, which is made from requirements/ (pinned with hashes) by plain pip.
PYTHON ?= python3
VENV := .venv
# The log that the demo runs on: embedded or kafka (which needs Java 17+ and Maven).
LOG ?= embedded
# How long the torture lasts, and the seed of its faults: without one, another each time.
SECONDS ?= 300
SEED ?=
# Tests run in so many processes, a file of tests in one of them.
WORKERS ?= 2
# What make check runs, and what make test leaves out: CI has run it a moment before.
CHECKED := tests/unit tests/contract tests/architecture
LEFT_OUT ?=
# The one module to mutate; all where it is empty.
MODULE ?=
# The nodes of make kafka, 1 or 3, and the port of the first.
NODES ?= 1
PORT ?= 19092
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(VENV)/.peers

.DEFAULT_GOAL := help
.PHONY: help demo run kafka kafka-stop kafka-compose test interop test-kafka test-browser torture check mutants bench attack bench-peers format arch protos docs certs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "case-exchange needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(RUN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

$(PEERS): $(STAMP) requirements/bench.txt
	$(RUN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

demo: $(STAMP) ## run the whole story through real processes, on synthetic files
	PYTHONPATH=. $(RUN)/python deploy/demo/demo.py --log $(LOG)

run: $(STAMP) ## run a broker on the development PKI (made by make certs)
	@[ -d .dev/pki ] || $(RUN)/case-exchange certs init
	$(RUN)/case-exchange serve --clock-checked --config deploy/broker.toml

kafka: $(STAMP) ## start a Kafka cluster here, NODES=1 or 3 (needs Java 17+ and Maven)
	@[ -d .dev/pki ] || $(RUN)/case-exchange certs init
	@$(RUN)/python -m deploy.kafka start --nodes $(NODES) --port $(PORT)

kafka-stop: $(STAMP) ## stop it; its records stay in .dev/kafka
	@$(RUN)/python -m deploy.kafka stop

kafka-compose: $(STAMP) ## generate deploy/compose.yaml from the cluster's settings
	@$(RUN)/python -m deploy.kafka compose

test: $(STAMP) ## run every test that needs no Kafka
	$(RUN)/python -m pytest -m "not kafka" -n $(WORKERS) --dist loadfile $(addprefix --ignore=,$(LEFT_OUT))
	@echo "Kafka was not exercised: see make test-kafka"

interop: ## install the verifiers in JavaScript that make test then uses (needs npm)
	@command -v npm >/dev/null || { echo "interop needs npm: apt install npm" >&2; exit 1; }
	cd tests/interop/sigstore && npm ci --ignore-scripts --no-audit --no-fund --silent
	cd tests/interop/hpke && npm ci --ignore-scripts --no-audit --no-fund --silent
	cd tests/interop/age && npm ci --ignore-scripts --no-audit --no-fund --silent

test-kafka: $(STAMP) ## run the tests against a real Apache Kafka (needs Java 17+ and Maven)
	@$(RUN)/python -m deploy.kafka fetch
	$(RUN)/python -m pytest -m kafka -n $(WORKERS) --dist loadfile

torture: $(STAMP) ## kill, pause and restart nodes, brokers and witnesses for SECONDS while members trouble each other, by the plan of SEED
	$(RUN)/python -m tests.scenarios.torture --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

test-browser: $(STAMP) ## run the tests of the notice board and the report in headless Chromium (needs its driver, and npm)
	@command -v chromedriver >/dev/null || { echo "test-browser needs Chromium: apt install chromium chromium-driver fonts-noto-cjk" >&2; exit 1; }
	@command -v npm >/dev/null || { echo "test-browser needs npm: apt install npm" >&2; exit 1; }
	cd tests/browser && npm ci --ignore-scripts --no-audit --no-fund --silent
	$(RUN)/python -m pytest -m browser
	@echo "The pictures are in .dev/screenshots"

check: $(STAMP) ## format, lint, types, import contracts, proto lint and drift, unit and contract tests
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/buf lint protos
	$(RUN)/python protos/generate.py --check
	@tag=$$(git describe --tags --abbrev=0 2>/dev/null); if [ -n "$$tag" ]; then \
		rm -rf .dev/released && mkdir -p .dev/released && \
		git archive "$$tag" protos | tar -x -C .dev/released && \
		$(RUN)/buf breaking protos --against .dev/released/protos; \
	else echo "protos: no release yet that they could break"; fi
	$(RUN)/python docs/generate.py --check
	$(RUN)/python -m pytest -q -m "not kafka" -n $(WORKERS) --dist loadfile $(CHECKED)

mutants: $(STAMP) ## change the modules that trust rests on, one of them with MODULE=core/policy, and see whether tests notice
	$(RUN)/python -m tests.mutation $(MODULE)

bench: $(STAMP) ## measure against the floors of the same run; on Kafka too with Java 17+ and Maven
	PYTHONPATH=. $(RUN)/python bench/bench.py
	PYTHONPATH=. $(RUN)/python bench/fanout.py
	PYTHONPATH=. $(RUN)/python bench/scale.py
	PYTHONPATH=. $(RUN)/python bench/growth.py
	PYTHONPATH=. $(RUN)/python bench/formats.py

attack: $(STAMP) ## attack a broker as a member, and Kafka with a broker's and the break-glass key (docs/limits.md)
	PYTHONPATH=. $(RUN)/python bench/attack.py
	@$(RUN)/python -m deploy.kafka fetch
	$(RUN)/python -m pytest -m kafka $(addprefix tests/integration/test_kafka_,access.py ending.py members.py owner.py peers.py places.py repair.py settings.py tampering.py)

bench-peers: $(PEERS) ## measure the exchange beside Kafka, nats-server and RabbitMQ whose users check signatures themselves
	PYTHONPATH=. $(RUN)/python bench/peers.py
	PYTHONPATH=. $(RUN)/python bench/clients.py

arch: $(STAMP) ## check the import contracts alone
	$(RUN)/lint-imports

format: $(STAMP) ## format the code and apply safe lint fixes
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

protos: $(STAMP) ## generate protos/gen from the .proto files
	$(RUN)/python protos/generate.py

docs: $(STAMP) ## generate docs/errors.md, docs/configuration.md, the table in docs/sdk.md and, from the samples beside the project, docs/samples.md
	$(RUN)/python docs/generate.py
	$(RUN)/python docs/samples.py

certs: $(STAMP) ## write a complete development PKI into .dev/pki
	$(RUN)/case-exchange certs init

clean: ## remove everything that is generated and not committed
	@[ ! -e .dev/kafka/cluster/cluster.json ] || [ ! -e $(STAMP) ] || $(RUN)/python -m deploy.kafka stop
	rm -rf $(VENV) .dev .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
