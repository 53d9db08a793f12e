# The image of operator, Jobs and init containers: the binary, the libraries that it links, and certificate authorities. The same as
# `make image` makes without Docker.
#   docker build -t registry.example/modelcache:0.1.0 .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin modelcache
RUN tests/image-root target/release/modelcache /image

FROM scratch
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="modelcache" \
      org.opencontainers.image.description="Fills Kubernetes volumes with Hugging Face models, and says what is wrong when it cannot" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /image /
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/bin/modelcache"]
