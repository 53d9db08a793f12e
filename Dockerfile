# The image of operator, Jobs and init containers, with the contents that `make image` makes without Docker. For one architecture
#   docker build -t registry.example/modelcache:0.1.0 .
# or for both, each built on this machine:
#   docker buildx build --platform linux/amd64,linux/arm64 -t registry.example/modelcache:0.1.0 --push .
FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN deploy/image/root "${TARGETARCH:-$(dpkg --print-architecture)}" /image

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="modelcache" \
      org.opencontainers.image.description="Fills Kubernetes volumes with Hugging Face models, and says what is wrong when it cannot" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=build /image /
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/bin/modelcache"]
