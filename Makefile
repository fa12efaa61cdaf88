# The targets of `make help`. One profile everywhere, release, so that one build serves all of them.

# Where rustup puts cargo, for shells that have not read its environment yet.
CARGO ?= $(shell command -v cargo || echo "$$HOME/.cargo/bin/cargo")
# Options for the demo, as in: make demo ARGS="--out my-demo"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup rust c-compiler openblas demo test check bench cuda test-cuda test-emulated

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: rust c-compiler openblas ## Install what is missing: C compiler and OpenBLAS (Debian, Ubuntu)

demo: setup ## Build, then run the main job on embedded data
	$(CARGO) build --release
	$(CARGO) run --release --quiet -- demo $(ARGS)

test: setup ## Run all tests
	$(CARGO) test --release

check: setup ## Check format, lints and documentation; warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --release --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --no-deps

# cuda for convolutions without cuDNN.
CUDA_FEATURES ?= cudnn
# An installed toolkit, or else one from Python wheels.
WITH_TOOLKIT ?= $(shell command -v nvcc >/dev/null || echo analysis/gpu/with-toolkit.sh target/cuda-toolkit)

cuda: setup ## Build the program for CUDA devices: target/cuda/release/ascribe (docs/gpu.md)
	$(WITH_TOOLKIT) $(CARGO) build --release --features $(CUDA_FEATURES) --target-dir target/cuda

test-cuda: setup ## Run the tests that need a CUDA device
	$(WITH_TOOLKIT) $(CARGO) test --release --features $(CUDA_FEATURES) --target-dir target/cuda --test cuda

test-emulated: setup ## Run the tests that need a CUDA device with the processor in its place
	$(WITH_TOOLKIT) analysis/gpu/emulated/run.sh target/cuda-emulated \
		$(CARGO) test --release --features $(CUDA_FEATURES) --target-dir target/cuda --test cuda -- --test-threads 1

bench: setup ## Run the benchmarks
	$(CARGO) bench

rust:
	@$(CARGO) --version >/dev/null 2>&1 || { \
		echo "make: cargo, Rust's build tool, was not found; install it from https://rustup.rs and try again" >&2; \
		exit 1; }

c-compiler:
	@command -v cc >/dev/null || { $(call install,gcc libc6-dev,a C compiler,xcode-select --install); }

# Found either by its package description or by the linker alone.
openblas: c-compiler
	@pkg-config --exists openblas 2>/dev/null || $(links_openblas) || { \
		$(call install,libopenblas-dev pkg-config,OpenBLAS,brew install openblas libomp pkgconf $(and_environment)); }

and_environment = && export PKG_CONFIG_PATH="$$(brew --prefix openblas)/lib/pkgconfig"

links_openblas = ( folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT && \
	echo 'int main(void) { return 0; }' >"$$folder/main.c" && \
	cc "$$folder/main.c" -o "$$folder/main" -lopenblas 2>/dev/null )

# $(call install,Debian packages,what they are,what to do on macOS)
define install
if [ "$$(uname)" = Darwin ]; then \
	echo 'make: $(2) is missing; run: $(3)' >&2; exit 1; \
elif ! command -v apt-get >/dev/null; then \
	echo "make: $(2) is missing (Debian's packages: $(1)); install it with this system's package manager" >&2; exit 1; \
elif [ "$$(id -u)" = 0 ]; then root=; \
elif command -v sudo >/dev/null; then root=sudo; \
else \
	echo 'make: $(2) is missing and this account may not install it; ask for: apt-get install $(1)' >&2; exit 1; \
fi; \
echo 'make: installing $(1)'; \
$$root apt-get update && \
$$root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(1)
endef
