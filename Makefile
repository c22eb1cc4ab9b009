# Everything is made inside the checkout: target/ and .venv/. `make help` lists what there is.
# Needed: git, Rust 1.95, a C99 and a C++17 compiler, Python 3.11 with venv. `make tools` says what is missing.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

RUST_MIN := 1.95
CARGO ?= cargo
PYTHON ?= python3
ifeq ($(origin CXX),default)
CXX := c++
endif
PREFIX ?= /usr/local
DESTDIR ?=

root := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
REPO ?= $(root)
target := $(root)/target
release := $(target)/release
debug := $(target)/debug
venv := $(root)/.venv
skipped := $(target)/skipped
export CC CXX
export CARGO_TARGET_DIR := $(target)
export PYO3_PYTHON := $(shell command -v $(PYTHON) 2>/dev/null)

say = @printf '==> %s\n'
# $(call skip,check,how to get what is missing): a check that cannot run here stays visible, and fails in CI.
skip = { echo "SKIPPED $(1): $(2)"; echo "$(1) ($(2))" >>$(skipped); [ -z "$$CI" ]; }

.PHONY: help
help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name text; do \
	  printf '  make %-12s %s\n' "$$name" "$$text"; done
	@echo "Variables: REPO (demo), PREFIX DESTDIR (install), CC CXX PYTHON CARGO, CI (a skipped check fails)"

.PHONY: tools
tools: ## Says which required tools are missing and how to get them
	@missing=; need() { command -v "$$1" >/dev/null 2>&1 || { echo "missing: $$1 - $$2"; missing=1; }; }; \
	need git "apt-get install git"; \
	need $(CC) "a C compiler: apt-get install gcc libc6-dev, or set CC"; \
	need $(CXX) "a C++ compiler: apt-get install g++, or set CXX"; \
	for tool in $(CARGO) rustc; do \
	  need $$tool "install Rust $(RUST_MIN) or later with rustup"; \
	  version=$$($$tool --version 2>/dev/null | cut -d' ' -f2); \
	  lowest=$$(printf '%s\n' "$(RUST_MIN)" "$$version" | sort -V | head -n 1); \
	  if [ -n "$$version" ] && [ "$$lowest" != "$(RUST_MIN)" ]; then \
	    echo "missing: $$tool $(RUST_MIN) - this one is $$version; rustup update stable"; missing=1; fi; \
	done; \
	if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo "missing: Python 3.11 - apt-get install python3, or set PYTHON"; missing=1; \
	elif ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "missing: Python's venv - apt-get install python3-venv"; missing=1; fi; \
	[ -z "$$missing" ]

# ---- build ------------------------------------------------------------------------------------------------------

.PHONY: build
build: ## Builds libwatch.so and libwatch.a into target/release
	$(say) "build: the C library, optimised"
	@$(CARGO) build --release -p watch-capi

.PHONY: build-dev
build-dev:
	$(say) "build-dev: the core and the C library with their assertions on"
	@$(CARGO) build

header_number = $(shell sed -n 's/^.define WATCH_$(1) \([0-9]*\).*/\1/p' $(root)/include/watch.h)
major = $(call header_number,VERSION_MAJOR)
minor = $(call header_number,VERSION_MINOR)
version = $(major).$(minor).$(call header_number,VERSION_PATCH)
abi = $(call header_number,ABI_VERSION)
substitute = sed -e 's|@LIBWATCH_VERSION@|$(version)|g' -e 's|@LIBWATCH_VERSION_MAJOR@|$(major)|g' \
  -e 's|@LIBWATCH_VERSION_MINOR@|$(minor)|g' -e 's|@LIBWATCH_ABI@|$(abi)|g' \
  -e 's|@LIBWATCH_INCLUDE_FROM_LIB@|../include|g'

.PHONY: install
install: build ## Installs libraries, headers, libwatch.pc and CMake files into PREFIX
	$(say) "install: libwatch $(version) into $(DESTDIR)$(PREFIX)"
	@set -e; lib="$(DESTDIR)$(PREFIX)/lib"; include="$(DESTDIR)$(PREFIX)/include"; \
	install -d "$$lib/pkgconfig" "$$lib/cmake/libwatch" "$$include"; \
	install -m 755 "$(release)/libwatch.so" "$$lib/libwatch.so.$(version)"; \
	ln -sf "libwatch.so.$(version)" "$$lib/libwatch.so.$(abi)"; \
	ln -sf "libwatch.so.$(abi)" "$$lib/libwatch.so"; \
	install -m 644 "$(release)/libwatch.a" "$$lib"; \
	install -m 644 include/watch.h include/*.hpp "$$include"; \
	$(substitute) bindings/cpp/libwatch.pc.in >"$$lib/pkgconfig/libwatch.pc"; \
	for file in libwatch-config libwatch-config-version; do \
	  $(substitute) "bindings/cpp/$$file.cmake.in" >"$$lib/cmake/libwatch/$$file.cmake"; done

# ---- Python -----------------------------------------------------------------------------------------------------

requirements := import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
  print("\n".join(p["build-system"]["requires"] + p["project"]["optional-dependencies"]["test"]))
python_sources := $(shell find src bindings/python python/libwatch -type f ! -name '*.pyc' ! -name '*.so')

# Tools come from the network once; the package itself is then built without it.
$(venv)/tools: pyproject.toml
	$(say) "venv: the tools of the Python tests, into .venv"
	@$(PYTHON) -m venv $(venv)
	@$(venv)/bin/python -c '$(requirements)' >$(venv)/requirements.txt
	@$(venv)/bin/python -m pip install --quiet --disable-pip-version-check -r $(venv)/requirements.txt
	@touch $@

$(venv)/package: $(venv)/tools Cargo.toml Cargo.lock $(python_sources)
	$(say) "python: the package, into .venv"
	@PATH="$(venv)/bin:$$PATH" $(venv)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation --force-reinstall .
	@touch $@

.PHONY: python
python: $(venv)/package ## Installs the Python package into .venv

# ---- test -------------------------------------------------------------------------------------------------------

steps := fmt-check clippy test-rust test-model test-loom test-stress test-c test-cpp test-readme test-python test-demo

.PHONY: test
test: tools ## Runs every check; ends with "test: ok"
	@mkdir -p $(target); : >$(skipped); ran=; \
	for step in $(steps); do \
	  begin=$$(date +%s); \
	  $(MAKE) --no-print-directory $$step || { echo "test: $$step failed"; exit 1; }; \
	  ran="$$ran $$step ($$(($$(date +%s) - begin)) s),"; \
	done; \
	without=$$(paste -sd, $(skipped) | sed 's/,/, /g'); \
	echo "test: ran$${ran%,}; skipped $${without:-nothing}"; \
	echo "test: ok"

.PHONY: fmt-check
fmt-check: ## Rust sources are formatted
	$(say) "fmt-check: rustfmt finds nothing to change"
	@if $(CARGO) fmt --version >/dev/null 2>&1; then $(CARGO) fmt --all --check; \
	else $(call skip,fmt-check,rustup component add rustfmt); fi

.PHONY: clippy
clippy: ## Lints of all Rust targets, warnings are errors
	$(say) "clippy: lints of all targets, warnings are errors"
	@if $(CARGO) clippy --version >/dev/null 2>&1; then \
	  $(CARGO) clippy --quiet --workspace --all-targets -- -D warnings; \
	else $(call skip,clippy,rustup component add clippy); fi

.PHONY: test-rust
test-rust: ## Unit, API, conformance, crash and documentation tests, and the C header
	$(say) "test-rust: core and C library: unit, API, conformance, kill -9, header, documentation"
	@$(CARGO) test --no-fail-fast

.PHONY: test-model
test-model: ## Random programs against a plain model for two minutes, step by step and many at once
	$(say) "test-model: random programs against a plain model, a minute step by step, a minute many at once"
	@LIBWATCH_MODEL_SECONDS=60 $(CARGO) test --no-fail-fast -p libwatch-model

.PHONY: soak
soak: ## The same for LIBWATCH_SOAK_SECONDS (600), optimised; prints its seed, LIBWATCH_SEED repeats it
	$(say) "soak: random programs against a plain model, optimised"
	@CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TARGET_DIR=$(target)/soak \
	  LIBWATCH_SOAK_SECONDS=$${LIBWATCH_SOAK_SECONDS:-600} \
	  $(CARGO) test --release -p libwatch-model --test soak -- --nocapture

.PHONY: crash-sim
crash-sim: ## A power cut at every write, errors at every call, bits turned: the full counts of docs/reliability.md
	$(say) "crash-sim: the log on a simulated disk"
	@CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TARGET_DIR=$(target)/soak \
	  LIBWATCH_SIM_THREADS=2 LIBWATCH_SIM_STATES=$${LIBWATCH_SIM_STATES:-1000000} \
	  LIBWATCH_SIM_RECOVERIES=$${LIBWATCH_SIM_RECOVERIES:-50000} LIBWATCH_SIM_ERRORS=$${LIBWATCH_SIM_ERRORS:-20000} \
	  LIBWATCH_SIM_FLIPS=$${LIBWATCH_SIM_FLIPS:-all} \
	  $(CARGO) test --release --lib log::tests::sim -- --test-threads=1 --nocapture

.PHONY: test-loom
test-loom: ## The concurrent core under a model checker
	$(say) "test-loom: every schedule of the concurrent core, by a model checker"
	@CARGO_TARGET_DIR=$(target)/loom CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	  RUSTFLAGS="--cfg loom" $(CARGO) test --release --test loom

.PHONY: test-stress
test-stress: ## 64 writers and 64 watches of all kinds for a minute
	$(say) "test-stress: 64 writers and 64 watches for a minute, every watch checked against the log"
	@LIBWATCH_STRESS_SECONDS=60 $(CARGO) test --test stress

.PHONY: test-c
test-c: build build-dev ## The C API: plain, with sanitizers, under valgrind
	$(say) "test-c: the C API"
	@LIBWATCH_LIB_DIR=$(release) sh tests/c/run.sh plain
	$(say) "test-c: the C API with AddressSanitizer and UndefinedBehaviorSanitizer"
	@LIBWATCH_LIB_DIR=$(debug) sh tests/c/run.sh asan
	$(say) "test-c: the C API under valgrind"
	@if command -v valgrind >/dev/null 2>&1; then LIBWATCH_LIB_DIR=$(release) sh tests/c/run.sh valgrind; \
	else $(call skip,test-c under valgrind,apt-get install valgrind); fi

.PHONY: test-cpp
test-cpp: build build-dev ## The C++ header, the examples, the CMake package
	$(say) "test-cpp: the C++ header and the examples with AddressSanitizer"
	@LIBWATCH_LIB_DIR=$(debug) sh tests/cpp/run.sh asan
	$(say) "test-cpp: the C++ header in C++17, 20 and 23, the examples, the CMake package"
	@if command -v cmake >/dev/null 2>&1 && command -v pkg-config >/dev/null 2>&1; then \
	  LIBWATCH_LIB_DIR=$(release) sh tests/cpp/run.sh; \
	else $(call skip,test-cpp with CMake and pkg-config,apt-get install cmake pkg-config); fi

.PHONY: test-readme
test-readme: build-dev ## The README's programs in C, C++ and Rust, against an installed copy
	@$(MAKE) --no-print-directory install DESTDIR= PREFIX=$(target)/readme
	$(say) "test-readme: the README's programs in C, C++ and Rust, against an installed copy"
	@LIBWATCH_PREFIX=$(target)/readme LIBWATCH_RLIB_DIR=$(debug) sh tests/readme/run.sh

.PHONY: test-python
test-python: $(venv)/package ## ruff, mypy, pytest
	$(say) "test-python: ruff"
	@$(venv)/bin/python -m ruff check --quiet
	$(say) "test-python: mypy"
	@$(venv)/bin/python -m mypy
	$(say) "test-python: pytest"
	@$(venv)/bin/python -m pytest --quiet

.PHONY: etcd-diff
etcd-diff: ## Random programs on a real etcd and on libwatch (ETCD_DIFF_SECONDS, ETCD_DIFF_STEPS, LIBWATCH_SEED)
	$(say) "etcd-diff: random programs on a real etcd and on libwatch, every answer and every event compared"
	@mkdir -p $(target); \
	if command -v etcd >/dev/null 2>&1; then \
	  $(CARGO) test --quiet -p libwatch-etcd-diff && $(CARGO) run --quiet -p libwatch-etcd-diff; \
	else $(call skip,etcd-diff,apt-get install etcd-server); fi

# ---- demo -------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: tools build $(venv)/package ## Imports a git history, follows it from three languages (REPO=path); ends with "demo: ok"
	$(say) "demo: the history of $(REPO) becomes a store, watched from C, C++ and Python, checked against git"
	@LIBWATCH_LIB_DIR=$(release) $(venv)/bin/python demo/demo.py "$(REPO)"

.PHONY: test-demo
test-demo: build $(venv)/package ## The demo on awkward histories, and on differences it must find
	$(say) "test-demo: the demo on awkward histories, and on differences it must find"
	@LIBWATCH_LIB_DIR=$(release) $(venv)/bin/python tests/demo/run.py

.PHONY: clean
clean: ## Removes target/, .venv/ and caches
	rm -rf $(target) $(venv) .pytest_cache .mypy_cache .ruff_cache .hypothesis
