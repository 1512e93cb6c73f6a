# The image of `wardset serve`. The project does not publish it yet: see deploy/README.md.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
RUN cargo build --profile dist --locked --bin wardset
# Copy the program and its shared libraries (the dynamic linker and glibc) to the paths where it expects them.
RUN mkdir -p /image/etc \
    && cp target/dist/wardset /image/ \
    && ldd /image/wardset | grep -o '/lib[^ ]*' | xargs -n 1 cp --parents --dereference --target-directory=/image \
    && echo 'wardset:x:65532:65532::/nonexistent:/nonexistent' > /image/etc/passwd \
    && echo 'wardset:x:65532:' > /image/etc/group

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
EXPOSE 8443 8081
ENTRYPOINT ["/wardset"]
