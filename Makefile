# Every target sets up what it needs by itself: make serve | test | check | bench
SHELL := /bin/bash
HOST ?= 127.0.0.1
PORT ?= 9880
CONFIG ?= configs/tts_infer.yaml
JOBS ?= 2
PYTHON ?= $(firstword $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && echo $$p; done; true))
BIN := .venv/bin
INSTALLED := .venv/.installed
DEBIAN := .venv/.debian
CLIENTS := .venv/clients
HELM := .venv/helm
RAY := .venv/ray
SITE := .venv/docs
RAY_SPEC := ray[serve]>=2.60,<3
BROWSER := .venv/.browser
AUDITOR := .venv/audit/bin/pip-audit
ADVISORIES := https://pypi.org/pypi/pip/json
# command or file:package, of what tests talk to or build with; tests of one that cannot be had are skipped
PROGRAMS := curl:curl faad:faad redis-server:redis-server clamd:clamav-daemon cmake:cmake g++:g++ \
	/usr/include/nlohmann/json.hpp:nlohmann-json3-dev

# one thread a process, and memory that allocator and oneDNN would otherwise keep for shapes that do not come again
TEST_ENV := OMP_NUM_THREADS=1 MALLOC_ARENA_MAX=2 ONEDNN_PRIMITIVE_CACHE_CAPACITY=64

# Tests that compute with models, and what another processor would do otherwise in them; each line is one run.
MODEL_TESTS := tests/parity/test_models.py tests/unit/models tests/unit/audio tests/engine tests/e2e/test_demo_voice.py \
	tests/e2e/test_many_voices.py
define PROCESSORS
ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 OMP_NUM_THREADS=2
ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=4 OMP_WAIT_POLICY=PASSIVE
ATEN_CPU_CAPABILITY=default TESTS_WITHOUT_ONEDNN=1 OMP_NUM_THREADS=1
endef
export PROCESSORS

# Installs the Debian packages of $(1), entries as in PROGRAMS, that are not there; a failure is said and no more.
define install
@missing=""; for entry in $(1); do \
	PATH="$$PATH:/usr/sbin" command -v "$${entry%%:*}" > /dev/null || test -e "$${entry%%:*}" || missing="$$missing $${entry##*:}"; done; \
if [ -n "$$missing" ]; then \
	echo "installing$$missing" >&2; \
	(apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing) || \
		echo "not installed, and the tests that need them are skipped:$$missing" >&2; \
fi
endef

.PHONY: help serve test test-clients test-ray test-browser test-matrix coverage wheel check docs audit bench gpu constraints clean
help:
	@echo "make serve   serve on http://$(HOST):$(PORT) (HOST, PORT, CONFIG)"
	@echo "make test    all tests (JOBS processes)"
	@echo "make coverage   the same tests with branch coverage of src/, and what is not covered"
	@echo "make test-matrix   the tests of the models as on older processors, without oneDNN, on 1, 2 and 4 threads"
	@echo "make test-clients   the same service with other people's programs, in an environment of their own"
	@echo "make test-ray   replicas of Ray Serve that are killed, in an environment of their own"
	@echo "make test-browser   the page at / in Chromium"
	@echo "make check   format, lint, layers and their picture, types, the Helm chart"
	@echo "make docs    the documentation as a site in build/site, with every link checked"
	@echo "make wheel   a wheel in dist/, tried in an empty environment"
	@echo "make audit   known vulnerabilities of the pinned packages (pip-audit; needs the internet)"
	@echo "make bench   measure full-size models, print and save the figures"
	@echo "make gpu     what a CUDA card makes of the engine, in eight minutes (PARTS=abcdefg; TINY=1 on a CPU)"

serve: $(INSTALLED)
	$(BIN)/sovits-service serve -c $(CONFIG) -a $(HOST) -p $(PORT)

test: $(INSTALLED) $(DEBIAN)
	$(TEST_ENV) $(BIN)/pytest -n $(JOBS) --dist worksteal --durations=20

coverage: $(INSTALLED) $(DEBIAN)
	$(TEST_ENV) $(BIN)/pytest -q -n $(JOBS) --dist worksteal --cov --cov-report=term-missing:skip-covered

# A wheel in dist/, tried in an empty environment and an empty folder.
wheel: $(INSTALLED)
	rm -f dist/*.whl
	$(BIN)/python -m hatchling build -t wheel
	PYTHON=$(PYTHON) bash tools/try_wheel.sh dist/*.whl

test-matrix: $(INSTALLED)
	@failed=0; while read -r processor; do echo "== $$processor"; \
		env $(TEST_ENV) $$processor $(BIN)/pytest -q -n $(JOBS) --dist worksteal $(MODEL_TESTS) < /dev/null || failed=1; \
	done <<< "$$PROCESSORS"; exit $$failed

# Other people's programs: some 1 GB in an environment of their own. That of npm is left out where there is no npm.
test-clients: $(INSTALLED) $(CLIENTS)/.installed
	$(TEST_ENV) $(BIN)/pytest tests/clients/heavy.py

# Ray: some 350 MB beside the environment of the service, in one that sees that.
test-ray: $(INSTALLED) $(RAY)/.installed
	$(TEST_ENV) $(RAY)/bin/python -m pytest -s tests/ray/heavy.py

# The page at /, in a real Chromium.
test-browser: $(INSTALLED) $(BROWSER)
	$(TEST_ENV) $(BIN)/pytest tests/browser/page.py

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python tools/architecture.py --check
	$(BIN)/mypy
	@if $(MAKE) --no-print-directory $(HELM)/.installed; then $(BIN)/pytest -q tests/helm/chart.py; else \
		echo "NOT CHECKED: the Helm chart, since helm and the schemas of Kubernetes cannot be installed here" >&2; fi

# Material's makers announce its successor at each start, which NO_MKDOCS_2_WARNING leaves out.
docs: $(SITE)/.installed
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

# Asks a service of the internet about every pinned package; says so where it cannot be reached.
audit: $(INSTALLED)
	@if $(BIN)/python -c 'import httpx; httpx.get("$(ADVISORIES)", timeout=10).raise_for_status()' 2> /dev/null; then \
		test -x $(AUDITOR) || { $(PYTHON) -m venv .venv/audit && .venv/audit/bin/pip install -q pip-audit; } && \
		$(AUDITOR) --strict --no-deps --disable-pip -r constraints.txt; \
	else \
		echo "NOT AUDITED: $(ADVISORIES) cannot be reached from here; run make audit where it can" >&2; \
	fi

# Needs nothing of .venv: torch, transformers, numpy and safetensors of whatever Python there is.
gpu:
	PYTHONPATH=src:. $(shell test -x $(BIN)/python && echo $(BIN)/python || echo $(PYTHON)) -m benchmarks.gpu \
		$(if $(TINY),--tiny) $(if $(PARTS),--parts $(PARTS))

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

constraints: $(INSTALLED)
	$(BIN)/python tools/make_constraints.py > constraints.txt.tmp && mv constraints.txt.tmp constraints.txt

clean:
	rm -rf .venv build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 is needed; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "python3 -m venv failed; trying the Debian package python3-venv" >&2; \
		apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv .venv; }

$(INSTALLED): pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --disable-pip-version-check --prefer-binary -c constraints.txt -e '.[all,dev]'
	@touch $@

$(CLIENTS)/.installed: tests/clients/requirements.txt Makefile | .venv/bin/pip
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install -q --disable-pip-version-check -r tests/clients/requirements.txt
	$(CLIENTS)/bin/pip install -q --disable-pip-version-check --no-deps nonebot-plugin-gpt-sovits==0.2.0
	if command -v npm > /dev/null; then npm install --silent --no-audit --no-fund --prefix $(CLIENTS)/node openai@7.55.0; fi
	@touch $@

$(HELM)/.installed: tests/helm/requirements.txt | .venv/bin/pip
	$(PYTHON) -m venv $(HELM)
	$(HELM)/bin/pip install -q --disable-pip-version-check --only-binary :all: -r tests/helm/requirements.txt
	@touch $@

$(SITE)/.installed: docs/requirements.txt | .venv/bin/pip
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/pip install -q --disable-pip-version-check -r docs/requirements.txt
	@touch $@

$(RAY)/.installed: pyproject.toml constraints.txt Makefile | .venv/bin/pip
	$(PYTHON) -m venv $(RAY)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > \
		"$$($(RAY)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/service.pth"
	$(RAY)/bin/pip install -q --disable-pip-version-check --prefer-binary -c constraints.txt '$(RAY_SPEC)'
	@touch $@

$(DEBIAN): Makefile | .venv/bin/pip
	$(call install,$(PROGRAMS))
	@touch $@

$(BROWSER): pyproject.toml constraints.txt Makefile | $(INSTALLED)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[browser]'
	$(call install,chromium:chromium)
	@touch $@
