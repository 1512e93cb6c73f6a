# The image of `wardset serve`, for those who build with a container engine. `cargo xtask image` makes the same without one.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The program, its shared libraries and its user.
RUN cargo run --locked --package xtask -- image --root /image

FROM scratch
COPY --from=build /image/ /
LABEL org.opencontainers.image.title="wardset" \
      org.opencontainers.image.description="The admission gate for Kubernetes DaemonSets" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
USER 65532:65532
EXPOSE 8443 8081
ENTRYPOINT ["/wardset"]
