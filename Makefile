# Every target says what it does and how long it took.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-kernels check bench
.NOTPARALLEL:
SHELL := /bin/bash

BIN := .venv/bin
C_SOURCES := $(wildcard bpf/*.[ch] bpf/*/*.[ch])

# $(call timed,what it does,command): one line before, one after, and the command's own status.
define timed
@printf '== %s\n' '$(1)'; start=$$(date +%s%N); $(2); status=$$?; \
	printf '   %s in %d.%03d s\n' "$$( ((status)) && printf 'failed' || printf 'done')" \
	$$((($$(date +%s%N) - start) / 1000000000)) $$((($$(date +%s%N) - start) / 1000000 % 1000)); exit $$status
endef

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv with everything needed; installs only what is absent (a minute the first time, then a second)
	@scripts/prepare-environment

demo: setup ## bear a real pod and draw its birth (root; half a minute); BACKENDS=1: in Jaeger and Prometheus, too
	$(call timed,demo: a private containerd and one real pod,$(BIN)/python -m demo $(if $(BACKENDS),--backends))

test: setup ## all tests; without root, containerd or Go those that need them skip and say so (minutes)
	@printf '== tests\n'
	@$(BIN)/python -m pytest

test-kernels: setup ## a part of the tests under Debian's 6.1 and 6.12, emulated (root; half an hour); docs/support.md gets its result
	@scripts/prepare-environment --kernels
	@printf '== tests under other kernels\n'
	@$(BIN)/python -m pytest tests/kernels/matrix.py

check: setup ## style, types, layers, formatting of the C (half a minute)
	$(call timed,ruff: rules,$(BIN)/ruff check)
	$(call timed,ruff: format,$(BIN)/ruff format --check)
	$(call timed,mypy: types,$(BIN)/mypy)
	$(call timed,import-linter: layers,$(BIN)/lint-imports)
	$(call timed,clang-format: the C,$(if $(C_SOURCES),clang-format --dry-run -Werror $(C_SOURCES),printf '   nothing to look at\n'))

bench: setup ## what the agent costs, measured here (root; minutes)
	$(call timed,benchmarks,$(BIN)/python -m benchmarks)
