# `make help` lists the targets. Each does its own setup.

.PHONY: help demo picture demo-down test fresh bench bench-operator profile generate check fmt lint book chart deny advisories build image \
	release-check release-files release-push clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## Run the demo on a temporary Kubernetes on this machine
	@demo/run

picture: ## Draw the README's picture from the output of the last demo
	@demo/picture docs/images/mcache.svg target/demo/mistakes.txt target/demo/corrected.txt

demo-down: ## Remove everything that the demo started
	@demo/down

test: ## Run all checks and tests; ends with `N passed, N failed, N skipped`
	@tests/run

fresh: ## Run demo and test on a fresh Debian with empty caches; takes an hour. ARGS="test" for one of them
	@tests/fresh $(ARGS)

bench: ## Benchmark against hf download, curl and cp, and write docs/benchmarks.md; ARGS="--rounds 7" for more
	@tests/bench/run $(ARGS)

bench-operator: ## Benchmark the operator on a real Kubernetes, and write docs/measured.md
	@tests/bench/operator

profile: ## Profile a fetch
	@tests/bench/profile $(ARGS)

generate: ## Regenerate the generated files
	@cargo run --quiet --locked --bin modelcache -- crd > crds/modelcaches.modelcache.internal.yaml.new
	@mv crds/modelcaches.modelcache.internal.yaml.new crds/modelcaches.modelcache.internal.yaml
	@for page in cli reasons fields metrics; do \
		cargo run --quiet --locked --bin modelcache -- reference $$page > docs/reference/$$page.md.new && \
		mv docs/reference/$$page.md.new docs/reference/$$page.md || exit; \
	done
	@charts/render
	@deploy/image/licences

check: ## Run the checks that need no cluster, root or other tools, in under a minute after the build
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --lib --test imports

fmt: ## Format the code
	cargo fmt --all

lint: ## Check formatting, lints, scripts and workflows
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@tests/tools/lint

book: ## Build the documentation as a book in target/book/docs, and check its links
	@docs/build

chart: ## Lint the chart and check its rendered files, without a cluster
	@"$$(tests/tools/get helm)" lint --strict charts/modelcache
	@charts/render && git diff --exit-code -- charts deploy tests/chart/rendered

deny: ## Check the licences and sources of all dependencies
	@"$$(tests/tools/crate cargo-deny)" --log-level error check bans licenses sources --hide-inclusion-graph

advisories: ## Check the dependencies for known vulnerabilities, with the online database
	@"$$(tests/tools/crate cargo-deny)" check advisories

build: ## Build the release binary
	cargo build --release --locked

image: ## Build the image without Docker, as an OCI archive in target/image; ARCHITECTURES="amd64 arm64" for both
	deploy/image/archive target/image/modelcache.tar $(ARCHITECTURES)

release-check: ## Check whether VERSION=1.2.3 can be released
	@.ci/release check "$$VERSION"

release-files: ## Build all files of a release, in target/release-files
	@.ci/release files "$$VERSION"

release-push: ## Push image and chart to REGISTRY, with WHO and TOKEN from the environment
	@.ci/release push "$$VERSION"

clean: ## Remove build output
	cargo clean
