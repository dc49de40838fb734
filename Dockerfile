# Builds two images: `--target control-plane` and `--target envoy`.

FROM rust:1.95-bookworm AS build
WORKDIR /src
RUN rustup target add wasm32-wasip1
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --package opentracy --profile release \
    && cargo build --locked --package opentracy-filter --profile wasm --target wasm32-wasip1 \
    && cargo build --locked --package opentracy-filter-native --profile native \
    && cp target/release/opentracy target/wasm32-wasip1/wasm/opentracy_filter.wasm \
        target/native/libopentracy_filter_native.so /

FROM rust:1.95-bookworm AS embedder
RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cp --recursive "$(cargo xtask embedder)" /embedder

FROM debian:bookworm-slim AS control-plane
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/opentracy opentracy \
    && install -d -o opentracy /var/lib/opentracy /run/opentracy
COPY --from=build /opentracy /usr/local/bin/opentracy
COPY --from=embedder /embedder /usr/share/opentracy/embedder
ENV HOME=/var/lib/opentracy OPENTRACY_EMBEDDER=/usr/share/opentracy/embedder
USER opentracy
VOLUME /var/lib/opentracy
EXPOSE 8000 50051
ENTRYPOINT ["opentracy"]
CMD ["serve"]

FROM envoyproxy/envoy:v1.40.0 AS envoy
COPY --from=build /opentracy_filter.wasm /libopentracy_filter_native.so /etc/opentracy/
