# One command per task. Start with `make run`; `make` lists all of them.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The same folder as cargo uses.
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := web/node_modules/.bin

# Timestamps: npm, buf and esbuild run only if an input is newer than the output.
NODE_MODULES := web/node_modules/.package-lock.json
STUBS := web/src/gen/.stamp
DIST := web/dist/index.html
PROTOS := $(shell find proto -name '*.proto')
PAGE := web/build.mjs web/tsconfig.json LICENSE $(shell find web/src -path web/src/gen -prune -o -type f -print)

.PHONY: help run build web test lint bench simulate chaos soak bootstrap bootstrap-test

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16
	@echo
	@echo "  make run ARGS='--listen 127.0.0.1:9000' passes arguments to reelmill up."

run: build ## Install missing dependencies, build, and start all roles on this machine
	@exec "$(TARGET)/release/reelmill" up $(ARGS)

build: bootstrap $(DIST) ## Build the web page and the binary
	cargo build --release --locked -p reelmill

web: bootstrap $(DIST) ## Build the web page into web/dist

test: bootstrap-test $(DIST) ## Install test dependencies and run all tests
	cd web && npm run --silent typecheck && npm test --silent
	cargo test --release --locked --workspace

lint: bootstrap $(STUBS) ## Check format, lints, contract, types, scripts, workflows, dependencies
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	cd web && npm run --silent typecheck
	@if command -v shellcheck >/dev/null; then shellcheck deploy/*.sh .ci/run; else echo "shellcheck: not installed, skipped"; fi
	@if command -v actionlint >/dev/null; then actionlint; else echo "actionlint: not installed, skipped"; fi
	@if command -v cargo-deny >/dev/null; then cargo deny --workspace check bans licenses sources; \
	  else echo "cargo-deny: not installed, skipped"; fi

bench: bootstrap-test $(DIST) ## Measure speed and memory; writes target/bench/figures.json
	cargo build --release --locked -p reelmill -p reelmill-bench
	"$(TARGET)/release/reelmill-bench" $(ARGS)

simulate: bootstrap ## Simulate the dispatcher: ARGS="seeds=1000"
	cargo build --release --locked --workspace --features reelmill-transcode/simulation --bin reelmill-simulate
	"$(TARGET)/release/reelmill-simulate" $(ARGS)

chaos: bootstrap-test $(DIST) ## Inject faults into a running system: ARGS="seed=1 jobs=60 faults=35", ARGS=help
	cargo build --release --locked --workspace --bin reelmill --bin reelmill-chaos
	"$(TARGET)/release/reelmill-chaos" $(ARGS)

soak: bootstrap-test $(DIST) ## Use a system for hours and measure what grows: ARGS="hours=2"
	cargo build --release --locked --workspace --bin reelmill --bin reelmill-chaos
	"$(TARGET)/release/reelmill-chaos" soak $(ARGS)

bootstrap:
	@deploy/bootstrap.sh run

bootstrap-test:
	@deploy/bootstrap.sh test

# Order-only prerequisite: bootstrap checks for Node, but must not trigger a reinstall.
$(NODE_MODULES): web/package-lock.json web/package.json web/.npmrc | bootstrap
	cd web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(STUBS): $(PROTOS) buf.yaml buf.gen.yaml $(NODE_MODULES)
	$(BIN)/buf generate
	@touch $@

$(DIST): $(PAGE) $(STUBS)
	cd web && node build.mjs
