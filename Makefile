# shoplake: make demo and make test are all that a machine with Python 3.11 needs. `make help` lists the rest.
PYTHON ?= python3.11
EVENTS ?= 50000
ENV ?= dev
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.txt)
VENV := $(CURDIR)/.venv
PY := $(VENV)/bin/python
SITE := $(VENV)/lib/python3.11/site-packages
STAMP := $(VENV)/.setup-done
# What is installed; the images take requirements.txt, without the tools of development.
REQUIREMENTS ?= requirements-dev.txt
PATHS_OF_CODE := shoplake $(wildcard kafka spark sql ml airflow dashboard gcp utils benchmarks) tests
# A shell is a script of a top-level folder; airflow/ holds DAGs deeper down.
SHELLS := $(wildcard kafka/*.py spark/*.py sql/*.py ml/*.py utils/*.py gcp/*.py dashboard/*.py benchmarks/*.py airflow/dags/*.py airflow/plugins/*.py)
# For every system at once: what only another one needs would else be refused there, for it had no hash.
COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"

LOCKS := $(wildcard requirements*.txt */requirements*.txt)
# What finds secrets in the whole history; built once for each user, outside of the repository.
GITLEAKS_VERSION := 8.30.1
GITLEAKS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/shoplake/gitleaks-$(GITLEAKS_VERSION)/gitleaks

# Plain commands find the right programs, inside every recipe.
export PATH := $(VENV)/bin:$(PATH)
export SPARK_HOME := $(SITE)/pyspark
# Sets JAVA_HOME by the rule of shoplake.java, and says which Java it passed over.
WITH_JAVA = . "$(SPARK_HOME)/conf/spark-env.sh" &&

# Drawn anew for each run, and told, so that a run can be repeated.
WITH_FAULT_SEED = export FAULT_SEED=$${FAULT_SEED:-$$("$(PY)" -c 'import secrets; print(secrets.randbelow(2**32))')} && \
	echo "FAULT_SEED=$$FAULT_SEED" &&

.DEFAULT_GOAL := help
.PHONY: help setup demo backtest up status down test test-live test-nightly test-data test-cloud test-sql test-faults soak bench check audit-supply audit-advisories package sbom cloud-plan lock docs clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# The second step looks for itself whether jars, settings or Java are missing, in half a second.
setup: $(STAMP)  ## Install Python packages, JVM jars, Spark's settings and a Java into .venv (quick when done)
	@"$(PY)" utils/install_runtime.py

# Compiled once: where Python may not write beside the packages, each process would compile 1,500 files, for seconds.
$(STAMP): $(REQUIREMENTS) requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "error: Python 3.11 is needed, and $(PYTHON) is none. Install it, or: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@[ -x $(PY) ] || $(PYTHON) -m venv "$(VENV)" || \
		{ echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install python3.11-venv" >&2; exit 2; }
	@[ "$$("$(VENV)/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" = $(UV_VERSION) ] || \
		sed -n '/^uv==/,/[^\\]$$/p' requirements.txt | "$(PY)" -m pip install --quiet --require-hashes -r /dev/stdin
	"$(VENV)/bin/uv" pip install --compile-bytecode --python "$(PY)" --build-constraints requirements.txt --require-hashes -r $(REQUIREMENTS)
	@# Apart, because a folder has no hash.
	"$(VENV)/bin/uv" pip install --python "$(PY)" --build-constraints requirements.txt --no-deps --editable .
	@touch $@

demo: setup  ## Run the whole daily pipeline once on simulated events (EVENTS=50000; KEEP=1 leaves the broker running)
	@$(WITH_JAVA) KEEP=$(KEEP) "$(PY)" utils/demo.py --events $(EVENTS)

up: setup  ## Start the standing platform: broker, Airflow with the stream, dashboard, MLflow; prints where each is
	@$(WITH_JAVA) "$(PY)" utils/stack.py up

status: setup  ## Tell how the standing platform is
	@"$(PY)" utils/stack.py status

down: setup  ## Stop the standing platform; its data stay
	@"$(PY)" utils/stack.py down

test: setup  ## Run the tests, on two cores
	@$(WITH_JAVA) "$(VENV)/bin/pytest" tests -m "not slow and not live and not nightly and not sql_proof and not cloud and not faults" -n 2 --dist worksteal

test-live: setup  ## Run the tests of the standing platform: Airflow, a killed stream, files, a browser (installs Chromium)
	@$(WITH_JAVA) "$(VENV)/bin/pytest" tests -m live

test-nightly: setup  ## Run a backfill on PostgreSQL, a day twice, compose's services, the DAGs under Composer's own packages, and a quick benchmark
	@$(WITH_JAVA) "$(VENV)/bin/pytest" tests -m nightly

backtest: setup  ## Compare every forecaster by rolling origins, on gold or on DATA=file SOURCE=format
	@"$(PY)" ml/backtest.py $(if $(DATA),--data "$(DATA)") $(if $(SOURCE),--source "$(SOURCE)")

test-data: setup  ## Run the tests that take the whole real data set through both ways in
	@$(WITH_JAVA) "$(VENV)/bin/pytest" tests -m slow

test-cloud: setup  ## Run the pipeline in the cloud's profile against emulators of Cloud Storage and BigQuery
	@$(WITH_JAVA) "$(VENV)/bin/pytest" tests -m cloud -n 2 --dist worksteal

test-faults: setup  ## Kill, cut off, fill up and corrupt everything, under an hour (FAULT_SEED=N repeats one run)
	@$(WITH_FAULT_SEED) $(WITH_JAVA) "$(PY)" tests/support/class_archive.py && "$(VENV)/bin/pytest" tests -m faults -n 2 --dist worksteal

soak: setup  ## Kill the driver and the broker some 900 times; stop it at any time, and call it again to go on
	@$(WITH_FAULT_SEED) $(WITH_JAVA) export FAULT_RANDOM_KILLS=200 FAULT_KILLS_PER_POINT=20 FAULT_BROKER_KILLS=100 \
		FAULT_PROGRESS="$(CURDIR)/data/soak.jsonl" && mkdir -p data && "$(PY)" tests/support/class_archive.py && \
		{ "$(VENV)/bin/pytest" tests/faults/test_kills.py -m faults -n 2 --dist worksteal; code=$$?; \
		"$(PY)" tests/support/soak_progress.py "$$FAULT_PROGRESS"; exit $$code; }

test-sql: setup  ## Compare DuckDB and Google's SQL engine, each query on 200 random sets of tables (SQL_PROOF_SEED=N)
	@export SQL_PROOF_SEED=$${SQL_PROOF_SEED:-$$("$(PY)" -c 'import secrets; print(secrets.randbelow(2**32))')} && \
		echo "SQL_PROOF_SEED=$$SQL_PROOF_SEED" && "$(VENV)/bin/pytest" tests/sql -m sql_proof -n 2 --dist worksteal

bench: setup  ## Measure the platform beside its peers, into benchmarks/RESULTS.md (ONLY=pipeline,growth,latency,gold,sending)
	@$(WITH_JAVA) "$(PY)" benchmarks/run.py $(if $(ONLY),--only $(ONLY))

check: setup  ## Lint, types, import rules, layout, SQL, generated docs, secrets
	ruff check $(PATHS_OF_CODE)
	mypy shoplake
	@# Apart, because with namespace packages mypy takes the folders kafka/ and airflow/ for the packages of that name.
	mypy --no-namespace-packages --follow-imports=silent --cache-dir=.mypy_cache/shells $(SHELLS)
	lint-imports
	pytest -q -p no:cacheprovider tests/unit/test_layout.py
	@$(MAKE) --no-print-directory _data-dictionary TO=$(VENV)/data_dictionary.md
	@diff -u docs/data_dictionary.md $(VENV)/data_dictionary.md || { echo "error: docs/data_dictionary.md is not what the contract says; run make docs" >&2; exit 1; }
	@$(MAKE) --no-print-directory _terraform-tables TO=$(VENV)/tables.json
	@diff -u gcp/terraform/tables.json $(VENV)/tables.json || { echo "error: gcp/terraform/tables.json is not what the contract says; run make docs" >&2; exit 1; }
	@$(MAKE) --no-print-directory _terraform-roles TO=$(VENV)/roles.json
	@diff -u gcp/terraform/roles.json $(VENV)/roles.json || { echo "error: gcp/terraform/roles.json is not what configs/roles.yaml says; run make docs" >&2; exit 1; }
	@"$(PY)" utils/check_sql.py --profile $(ENV)
	@"$(PY)" utils/list_licences.py --check
	hadolint docker/Dockerfile.* gcp/Dockerfile.*
	@if command -v go >/dev/null && $(MAKE) --no-print-directory "$(GITLEAKS)"; then $(MAKE) --no-print-directory _gitleaks; \
		else echo "gitleaks is left out: it could not be built with Go; make audit-supply insists on it"; fi
	git ls-files -z | xargs -0 detect-secrets-hook --baseline .secrets.baseline

audit-supply: setup $(VENV)/audit/.made $(VENV)/checkov/.made  ## Security rules that take longer: bandit, checkov, and gitleaks (needs Go)
	"$(VENV)/audit/bin/bandit" --quiet --configfile pyproject.toml --recursive $(filter-out tests,$(PATHS_OF_CODE))
	env LOG_LEVEL=ERROR BC_SKIP_MAPPING=TRUE "$(VENV)/checkov/bin/checkov" --config-file .checkov.yaml --directory .
	@$(MAKE) --no-print-directory "$(GITLEAKS)" _gitleaks

# Composer's own packages are Google's to mend.
audit-advisories: setup $(VENV)/audit/.made  ## Ask the internet for known vulnerabilities of every locked package
	@code=0; for lock in $(filter-out airflow/%,$(LOCKS)); do echo "== $$lock"; \
		"$(VENV)/audit/bin/pip-audit" --strict --disable-pip --require-hashes --progress-spinner off -r $$lock || code=1; done; exit $$code

package: setup  ## Build the wheel into dist/, the same bytes from the same sources
	env SOURCE_DATE_EPOCH=315532800 uv build --build-constraints requirements.txt --require-hashes --wheel --out-dir dist

sbom: setup $(VENV)/audit/.made  ## List what is installed, in CycloneDX, into dist/ (REQUIREMENTS=requirements.txt: without the tools of development)
	@mkdir -p dist
	"$(VENV)/audit/bin/cyclonedx-py" environment --pyproject pyproject.toml --output-reproducible -o dist/shoplake.cdx.json "$(PY)"

cloud-plan: setup  ## Print what the cloud would hold and every command of a deployment (ENV=dev); needs no account
	@"$(PY)" gcp/bigquery_client.py plan --profile $(ENV)
	@"$(PY)" gcp/build_images.py --env $(ENV) --dry-run
	@"$(PY)" gcp/deploy_training.py --env $(ENV) --dry-run
	@"$(PY)" gcp/deploy_dataproc.py --env $(ENV) --dry-run
	@"$(PY)" gcp/deploy_composer.py --env $(ENV) --dry-run

lock: setup  ## Pin the whole closure of pyproject.toml with its hashes, and what the images add; what is still allowed stays
	$(COMPILE) pyproject.toml --extra dev -o requirements-dev.txt
	$(COMPILE) pyproject.toml --extra platform -c requirements-dev.txt -o requirements.txt
	$(COMPILE) pyproject.toml --extra cloud -c requirements-dev.txt -o gcp/requirements-dataproc.txt
	$(COMPILE) pyproject.toml --extra postgres -c requirements-dev.txt -o docker/requirements-postgres.txt
	$(COMPILE) docker/requirements-jupyter.in -c requirements-dev.txt -o docker/requirements-jupyter.txt
	$(COMPILE) docker/requirements-mlflow.in -o docker/requirements-mlflow.txt
	$(COMPILE) benchmarks/requirements-peers.in -o benchmarks/requirements-peers.txt
	$(COMPILE) utils/requirements-audit.in -o utils/requirements-audit.txt
	$(COMPILE) utils/requirements-checkov.in -o utils/requirements-checkov.txt
	@# As old as the image of Composer that the DAGs target.
	$(COMPILE) airflow/requirements-composer.in --exclude-newer 2026-08-31 -o airflow/requirements-composer.txt

docs: setup  ## Write what is made of the contract, the roles and the packages: in docs/ and gcp/terraform/
	@mkdir -p docs && $(MAKE) --no-print-directory _data-dictionary TO=docs/data_dictionary.md
	@$(MAKE) --no-print-directory _terraform-tables TO=gcp/terraform/tables.json
	@$(MAKE) --no-print-directory _terraform-roles TO=gcp/terraform/roles.json
	@"$(PY)" utils/list_licences.py

.PHONY: _data-dictionary _terraform-tables _terraform-roles _gitleaks
_data-dictionary:
	@"$(PY)" -c 'import pathlib, sys; from shoplake.contract.render import data_dictionary; \
		sys.stdout.write(data_dictionary({str(file): file.read_text() for file in pathlib.Path("sql").rglob("*.sql")}))' > $(TO)

_terraform-tables:
	@"$(PY)" -c 'import sys; from shoplake.warehouse.plan import plan_terraform; sys.stdout.write(plan_terraform())' > $(TO)

# Environments apart: checkov pins an older CycloneDX than the others take.
$(VENV)/%/.made: utils/requirements-%.txt | $(STAMP)
	uv venv --quiet --clear --python "$(PY)" "$(@D)"
	uv pip install --quiet --python "$(@D)/bin/python" --build-constraints requirements.txt --require-hashes -r $<
	@touch "$@"

$(GITLEAKS):
	env GOBIN="$(@D)" go install github.com/zricethezav/gitleaks/v8@v$(GITLEAKS_VERSION)

_gitleaks:
	"$(GITLEAKS)" git --no-banner --redact --verbose --log-level warn .
_terraform-roles:
	@"$(PY)" -c 'import sys; from shoplake.warehouse.role_plan import plan_terraform_roles; sys.stdout.write(plan_terraform_roles())' > $(TO)

clean:  ## Remove caches and build output; data/ and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis metastore_db spark-warehouse derby.log artifacts
	find shoplake kafka spark sql ml airflow utils tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
