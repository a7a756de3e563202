# The one entry to everything a developer or CI runs. `make help` lists it.
#
# Needed beforehand: Rust (rustup fetches the version in rust-toolchain.toml),
# a C compiler and make (Debian, Ubuntu: `apt install build-essential`).
# What a target needs beyond that it installs, or names before it stops.

CARGO ?= cargo
CARGO_DENY_VERSION := 0.20.2
# By hand only: seconds for each fuzz target, and which of them.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
# Arguments for `halley`, as in: make run ARGS='--config my.toml'
ARGS ?=

# Which faults, as in: make faults FAULTS='kill-comet calm'; all without any.
FAULTS ?=
# As in: make bench BENCH='--only members --runs 1'; only a whole run writes the page.
BENCH ?=
# As in: make instructions INSTRUCTIONS=--renew
INSTRUCTIONS ?=

RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
HALLEY := $(RELEASE)/halley --banner

.DEFAULT_GOAL := help
.PHONY: help run cluster build test faults million loom check fmt clippy docs deny advisories fuzz autobahn bench bench-parts instructions deploy-check kafka-tls goim-fleet

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# On a terminal halley gets its own process group: Ctrl-C drains it and leaves
# make to see its exit status.
run: build ## build a release and start every role in one process
	@if [ -t 0 ]; then set -m; $(HALLEY) $(ARGS); else exec $(HALLEY) $(ARGS); fi

cluster: build ## Kafka, Redis, 2 logic, 2 job and 3 comet on this machine, to try
	@$(CARGO) build --locked --release --package halley-tests --bin cluster
	@exec $(RELEASE)/cluster $(RELEASE)/halley

build: .toolchain ## build the release binary
	$(CARGO) build --locked --release --package halley

test: .toolchain ## every test: unit, property, golden vectors, corpus replay, end to end, loom, instructions
	$(CARGO) test --locked --workspace
	$(MAKE) --no-print-directory loom
	$(MAKE) --no-print-directory instructions

faults: build ## kill, stop and cut off parts of a cluster under load; one table (about 10 minutes, Linux)
	@$(CARGO) build --locked --release --package halley-tests --bin faults
	@exec $(RELEASE)/faults $(RELEASE)/halley $(FAULTS)

million: build ## a million connections to 55 comets, on this machine (Linux, 16 GiB free)
	@$(CARGO) build --locked --release --package halley-tests --bin million
	@$(RELEASE)/million $(RELEASE)/halley

loom: ## the wake-up state machines under every interleaving
	$(CARGO) test --locked --package halley-comet --features loom --lib loom

instructions: ## what the codec and a room's log execute, against the committed counts
	$(CARGO) build --locked --release --package halley-benches --bin instructions
	$(RELEASE)/instructions $(INSTRUCTIONS)

check: .toolchain fmt clippy docs deny ## formatting, lints, documentation, licences and imports

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --locked --workspace --all-targets --features halley-comet/conformance-echo -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps

# A skip that nothing needs any more is an error; a permitted importer that does
# not import is none.
deny: .cargo-deny
	$(CARGO) deny --locked check --deny unnecessary-skip --allow unused-wrapper bans licenses sources

advisories: .cargo-deny ## known defects of dependencies (asks the public database)
	$(CARGO) deny --locked check advisories

.PHONY: .toolchain
.toolchain:
	@command -v $(CARGO) >/dev/null || { echo 'missing: Rust; see https://rustup.rs' >&2; exit 1; }
	@command -v cc >/dev/null || { echo 'missing: a C compiler; Debian, Ubuntu: apt install build-essential' >&2; exit 1; }

.PHONY: .cargo-deny
.cargo-deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || { \
		echo 'installing cargo-deny $(CARGO_DENY_VERSION), once: about three minutes of CPU'; \
		env -u CARGO_TARGET_DIR $(CARGO) install --locked cargo-deny@$(CARGO_DENY_VERSION); \
	}

# Link-time optimisation would take minutes for each target.
fuzz: ## by hand: every fuzz target for FUZZ_SECONDS each (needs nightly and cargo-fuzz)
	@rustup run nightly rustc --version >/dev/null 2>&1 || { \
		echo 'missing: the nightly toolchain; install it with: rustup toolchain install nightly' >&2; exit 1; }
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { \
		echo 'missing: cargo-fuzz; install it with: cargo install --locked cargo-fuzz' >&2; exit 1; }
	@for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		CARGO_PROFILE_RELEASE_LTO=off $(CARGO) +nightly fuzz run "$$target" -- -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	done

autobahn: ## by hand: the published WebSocket conformance cases (needs Python 2.7)
	tests/autobahn/run

deploy-check: ## lint and render what is in deploy/ (needs Go and pip)
	deploy/check

kafka-tls: .toolchain ## by hand: Kafka in TLS, which is not built in by default (needs OpenSSL's headers)
	@pkg-config --exists openssl || { \
		echo 'missing: OpenSSL; Debian, Ubuntu: apt install libssl-dev pkg-config' >&2; exit 1; }
	$(CARGO) test --locked --package halley-backend --features kafka-tls --test kafka tls

goim-fleet: ## by hand: fleets of goim's nodes and Halley's (needs Go)
	tests/goim/run

# The commit of the figures is that of the tree that they were taken from.
bench: build ## what Halley costs beside a raw send loop; writes docs/performance.md (about 20 minutes, Linux)
	$(CARGO) bench --locked --package halley-benches --bench performance -- \
		$(abspath $(RELEASE)/halley) $(or $(BENCH),--write $(CURDIR)/docs/performance.md)

bench-parts: ## benchmarks of the parts
	$(CARGO) bench --locked --package halley-benches --bench codec --bench delivery --bench login --bench merge --bench session
