# syntax=docker/dockerfile:1

# One static binary in an image that holds nothing else but the CA bundle.

FROM rust:1.95.0-bookworm AS build

# Set by the builder: the architecture of the image, by Docker's name for it.
ARG TARGETARCH

# The image has the right compiler; nothing needs to be fetched for `rust-toolchain.toml`.
ENV RUSTUP_TOOLCHAIN=1.95.0

SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY templates templates
COPY docs/reference/configuration.md docs/reference/configuration.md

# Without default features there is no `dev` command in the image, and no stand-in Clerk.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target,id=clerk-gate-target-${TARGETARCH} \
    arch=${TARGETARCH:-$(dpkg --print-architecture)}; \
    case "${arch}" in \
      amd64) target=x86_64-unknown-linux-gnu ;; \
      arm64) target=aarch64-unknown-linux-gnu ;; \
      *) echo "there is no build for \`${arch}\`" >&2; exit 1 ;; \
    esac; \
    RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR=/target \
      cargo build --release --locked --no-default-features --target "${target}"; \
    install -D "/target/${target}/release/clerk-gate" /out/clerk-gate

FROM gcr.io/distroless/static-debian12:nonroot

LABEL org.opencontainers.image.title="clerk-gate" \
      org.opencontainers.image.description="An authenticating reverse proxy that gives any web application Clerk" \
      org.opencontainers.image.licenses="MIT"

COPY --from=build /out/clerk-gate /clerk-gate

# `nonroot`, as a number so that an orchestrator can tell it is not root.
USER 65532:65532

# 8080 serves visitors. 9901 is the operator's window; it is on loopback until `[admin] listen` says otherwise.
EXPOSE 8080 9901

HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/clerk-gate", "health"]

ENTRYPOINT ["/clerk-gate"]
CMD ["run", "-c", "/etc/clerk-gate/clerk-gate.toml"]
