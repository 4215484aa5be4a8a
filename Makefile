# Everything there is to do here. `make` alone lists it; .ci/run is what the continuous integration calls.
#
# Built things are kept in PGSTEER_CACHE (default: pgsteer in the user's cache directory), the running cluster in PGSTEER_STATE.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up down demo images chaos check test docs lint tidy clean release soak mutants bench
# The steps of one target follow one another: two cores are busy with one of them.
.NOTPARALLEL:

# Images take the programs from target/release, so the target directory is always this one; it may be a link.
unexport CARGO_TARGET_DIR

STEP := .ci/step
CHAOS := target/release/chaos
NODES ?= 3
# The seeded simulation of the shipped code. A test program of its own, optimised; the planted bugs are in no other build.
SIMULATION := cargo test --quiet --release --locked -p pgsteer --features planted-bugs --test simulation
SABOTAGES := $(addprefix --sabotage ,both never-withdraw ignore-mark late-write)
# As many as two idle cores run in a minute and a half.
SEEDS ?= 4500
SOAK_SEEDS ?= 1000000
SOAK_STATE ?= target/soak.seeds

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: release ## boot a cluster, install pgsteer and a PostgreSQL pair, leave it running
	@$(CHAOS) up --nodes $(NODES)
	@$(CHAOS) install

down: ## end the cluster that `make up` or a kept demo left running
	@if [[ -x $(CHAOS) ]]; then $(CHAOS) down; else cargo run --quiet --locked -p pgsteer-chaos -- down; fi

demo: release ## boot, install, kill the primary under load: a timeline, PASS or FAIL; cleans up
	@$(CHAOS) demo --nodes $(NODES)

chaos: release ## every fault, one after the other, under load: its outage and its verdict; SHARD=1/2 plays half; then liars are caught
	@$(CHAOS) up --nodes $(NODES) || exit; trap '$(CHAOS) down' EXIT; status=0; \
	  $(STEP) "scenarios" $(CHAOS) run --all || status=$$?; \
	  $(STEP) "the judge catches liars" $(CHAOS) textbook $(SABOTAGES) || status=$$?; exit $$status

bench: release ## measure beside what people use today; QUICK=1: a few rounds; CELL=name: one cell (OUT=dir: where to)
	@$(CHAOS) bench $(if $(QUICK),--quick) $(if $(CELL),--cell $(CELL)) $(if $(OUT),--out '$(OUT)')

images: release ## write the images as OCI archives and print where they are
	@$(CHAOS) images

check: ## format, lints, licences, unit tests, real PostgreSQL servers, a real API server; no root needed
	@.ci/packages
	@$(STEP) "format" cargo fmt --all --check
	@$(STEP) "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
	@$(STEP) "licences, sources, bans" .ci/deny
	@$(STEP) "style" .ci/tidy
	@$(STEP) "the documentation against the code, links" .ci/docs
	@$(STEP) "build the tests" cargo test --workspace --locked --no-run
	@$(STEP) "build the control plane" target/debug/chaos build --control-plane
	@$(STEP) "tests" cargo test --workspace --locked
	@$(STEP) "alerts" promtool test rules deploy/prometheus/rules_test.yaml
	@$(STEP) "the model, and hostile servers" cargo test --locked -p pgsteer --lib -- --ignored --nocapture --test-threads=1
	@$(STEP) "the entry point against real servers" deploy/images/postgres/entrypoint_test.sh
	@$(STEP) "lints of the planted bugs" cargo clippy -p pgsteer --all-targets --features planted-bugs --locked -- -D warnings
	@$(STEP) "build the simulation" $(SIMULATION) --no-run
	@$(STEP) "a planted bug would not be shipped" bash -c '! .ci/shipped target/release/pgsteer'
	@$(STEP) "simulation, $(SEEDS) seeds" $(SIMULATION) -- seeds $(SEEDS)
	@$(STEP) "the simulation finds each planted bug" $(SIMULATION) -- planted

test: check release ## check, the images, the demo, six scenarios and a few rounds of the benchmarks on a cluster
	@$(STEP) "images" $(CHAOS) images
	@$(STEP) "the controller's Containerfile gives the same files" deploy/images/containerfile_test.sh controller "$$($(CHAOS) images controller)"
	@$(STEP) "a node and its faults" cargo test -p pgsteer-chaos --locked --lib --test cluster -- --ignored
	@$(STEP) "build Jaeger" $(CHAOS) build --jaeger
	@$(STEP) "a switch, seen by Jaeger and Prometheus" cargo test -p pgsteer --locked --test routes a_switch_is -- --ignored --nocapture
	@$(STEP) "the status page in Chromium" cargo test -p pgsteer --locked --test page -- --ignored
	@$(STEP) "the chart, as a guest in somebody's cluster" cargo test --workspace --locked --test guest -- --ignored --nocapture
	@trap '$(CHAOS) down' EXIT; $(STEP) "demo" $(CHAOS) demo --nodes $(NODES) --keep && \
	  $(STEP) "scenarios" $(CHAOS) run primary-killed primary-frozen leader-and-primary leader-frozen split-brain wiped-alone && \
	  $(STEP) "the benchmarks, a few rounds" $(CHAOS) bench --quick

docs: release ## build the book of docs/ into target/book; compare it with the code, check its links, run its commands on a cluster
	@$(STEP) "the documentation against the code, links" .ci/docs
	@$(STEP) "the book" .ci/book
	@$(STEP) "the documentation's commands" .ci/commands

soak: ## a million seeds of the simulation (SOAK_SEEDS); ended, it goes on where it was
	@nice -n 10 $(SIMULATION) -- soak $(SOAK_SEEDS) "$(abspath $(SOAK_STATE))"

lint: ## format and lint, changing what can be changed by itself
	cargo fmt --all
	cargo clippy --workspace --all-targets --locked -- -D warnings

mutants: ## change the code that keeps the promise, bit by bit: a test has to fail each time (DIFF=1: only changed lines)
	@.ci/mutants $(if $(DIFF),--diff) $(if $(ONLY),--only '$(ONLY)')

tidy: ## check the rules of style that no compiler knows
	@.ci/tidy

clean: ## remove what cargo built; PGSTEER_CACHE stays
	cargo clean

# The programs that go into the images, and the Kubernetes programs of the cluster.
release:
	@.ci/packages
	@$(STEP) "build the release programs" cargo build --release --locked -p pgsteer -p pgsteer-chaos
	@$(STEP) "no planted bug in them" .ci/shipped target/release/pgsteer
	@$(STEP) "build the cluster's programs" $(CHAOS) build
