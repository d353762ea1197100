# `make` lists what there is to do.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

TARGET := $(or $(CARGO_TARGET_DIR),target)
# The binary that the end-to-end tests run; give another one with GATE_BIN.
export GATE_BIN ?= $(abspath $(TARGET))/ci/clerk-gate
# Ends a runner's output with a line that counts what ran.
closing = mkdir -p $(TARGET)/closing && rm -f $(TARGET)/closing/$@ && $(1) 2>&1 \
	| awk -v name=$@ -v to=$(TARGET)/closing -f tests/closing.awk
node-test = $(call closing,node --test --test-reporter=spec $(1))
ours = $(shell find . \( -name .git -o -name target -o -name node_modules \) -prune -o -name '$(1)' -print)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: deps test-rust test-redis test-node test-mcp test-differential test-browser test-people test-afternoon test-clerkjs test-app test-clients test-grpc test-change test-assertion test-legacy test-doors test-packaging ## run every test
	@cat $(addprefix $(TARGET)/closing/,$(filter test-%,$^))

.PHONY: deps
deps: ## install what the tests and lints need
	tests/deps.sh

.PHONY: test-rust
test-rust: ## unit and integration tests
	tests/deps.sh rust
	$(call closing,FUZZ_SECONDS=$${FUZZ_SECONDS:-60} cargo test --locked)

.PHONY: test-redis
test-redis: ## several gates with a real Redis, which is stopped, paused and filled, with Sentinels and as a Cluster
	tests/deps.sh redis
	$(call closing,cargo test --locked --test redis)

.PHONY: test-node
test-node: binary ## Clerk's SDK for Node accepts what the stand-in hands out, and acts on what the gate says
	tests/deps.sh node
	$(call node-test,tests/e2e/node.test.mjs tests/e2e/reverification.test.mjs)

.PHONY: test-mcp
test-mcp: binary ## MCP clients find their way to a server behind the gate
	tests/deps.sh node
	$(call node-test,tests/e2e/mcp.test.mjs)

.PHONY: test-differential
test-differential: binary ## 500 requests of chance are judged as Clerk's SDK judges them
	tests/deps.sh node
	$(call closing,SEED=$${SEED:-1} node tests/e2e/differential.mjs)

.PHONY: soak-differential
soak-differential: binary ## the same with 20,000 requests
	tests/deps.sh node
	REQUESTS=20000 node tests/e2e/differential.mjs

.PHONY: test-browser
test-browser: binary ## a browser signs in and works behind the gate
	tests/deps.sh browser
	$(call node-test,tests/e2e/browser.test.mjs)

.PHONY: test-people
test-people: binary ## people on one browser and on several look after their sessions
	tests/deps.sh browser
	$(call node-test,tests/e2e/people.test.mjs)

.PHONY: test-afternoon
test-afternoon: binary ## an afternoon of work with an application of somebody else's loses nothing
	tests/deps.sh browser
	$(call node-test,tests/e2e/afternoon.test.mjs)

.PHONY: soak-afternoon
soak-afternoon: binary ## the same for ten minutes
	tests/deps.sh browser
	AFTERNOON_SECONDS=$${AFTERNOON_SECONDS:-600} node --test --test-reporter=spec tests/e2e/afternoon.test.mjs

.PHONY: screenshots
screenshots: binary ## take the pictures of the gate's pages in docs/images
	tests/deps.sh browser
	node tests/e2e/screenshots.mjs

.PHONY: test-clerkjs
test-clerkjs: binary ## Clerk's script for browsers and the gate see the same person
	tests/deps.sh browser
	$(call node-test,--test-concurrency=1 tests/e2e/clerkjs.test.mjs tests/e2e/inject.test.mjs)

.PHONY: test-app
test-app: binary ## an application of somebody else's learns who its user is, and parsers of others read metrics, traces and schema
	tests/deps.sh app
	$(call node-test,tests/e2e/app.test.mjs tests/e2e/metrics.test.mjs tests/e2e/traces.test.mjs tests/e2e/schema.test.mjs)

.PHONY: test-clients
test-clients: binary ## curl, wget, git and a browser in both versions of HTTP, over TLS
	tests/deps.sh clients
	$(call node-test,tests/e2e/clients.test.mjs)

.PHONY: test-grpc
test-grpc: binary ## Google's client and server of gRPC understand each other through the gate
	tests/deps.sh app
	$(call node-test,tests/e2e/grpc.test.mjs)

.PHONY: test-change
test-change: binary ## of 5,000 requests none is lost while two gates are told everything anew, stopped and replaced
	tests/deps.sh node doors
	$(call node-test,tests/e2e/change.test.mjs)

.PHONY: soak-change
soak-change: binary ## the same with 50,000 requests
	tests/deps.sh node doors
	REQUESTS=50000 node --test --test-reporter=spec tests/e2e/change.test.mjs

.PHONY: test-assertion
test-assertion: binary ## the programs in the documents verify what the gate signs
	tests/deps.sh app
	$(call node-test,tests/e2e/assertion.test.mjs)

.PHONY: test-legacy
test-legacy: binary ## PHP, Django, Rails and WordPress behind the gate, as their documents have them
	tests/deps.sh legacy
	$(call node-test,tests/e2e/legacy.test.mjs)

.PHONY: test-doors
test-doors: binary ## nginx, Traefik, Caddy, HAProxy and Envoy ask the gate, each with its recipe
	tests/deps.sh doors
	$(call node-test,tests/e2e/doors.test.mjs tests/e2e/sockets.test.mjs)

.PHONY: test-packaging
test-packaging: ## the image's parts: Dockerfile, compose file, static binary in an empty root
	tests/deps.sh packaging
	$(call closing,tests/packaging/run.sh)

.PHONY: binary
binary: ## build the binary of the end-to-end tests
ifeq ($(origin GATE_BIN),file)
	cargo build --locked --profile ci
endif

.PHONY: fuzz
fuzz: ## a minute of inputs that nobody thought of
	FUZZ_SECONDS=$${FUZZ_SECONDS:-60} cargo test --locked --test fuzz -- --test-threads=1 --nocapture --skip readers

.PHONY: soak
soak: soak-differential soak-afternoon soak-change ## minutes of many who behave badly, with figures
	SOAK=$${SOAK:-10} cargo test --locked --test it robust:: -- --test-threads=1 --nocapture

.PHONY: lint
lint: ## every lint
	tests/deps.sh lint
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --test redis -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny --config profile.release.lto=false --config profile.release.opt-level=1
	cargo deny --locked check bans licenses sources
	shellcheck .ci/run $(call ours,*.sh)
	for module in $(call ours,*.mjs); do node --check "$$module"; done
