# The image of Warren: one binary for every role.
#
#   docker build -t warren .
#   docker run --rm warren --help

# Override these to use other base images, for example from your own registry.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG BASE_IMAGE=debian:bookworm-slim
# The stage or image that contains /usr/local/bin/warren. With BuildKit, naming an image here skips the build stage.
ARG BINARY=build

FROM ${RUST_IMAGE} AS build
# `release` builds in less time, for a slightly larger and slower program.
ARG PROFILE=dist
WORKDIR /src
COPY . .
RUN cargo build --profile "${PROFILE}" --locked --bin warren \
    && install "target/${PROFILE}/warren" /usr/local/bin/

FROM ${BINARY} AS binary

FROM ${BASE_IMAGE}
# Compiled guests run as this user, so no other user may write to the directory that holds them.
RUN useradd --system --uid 7700 --user-group --home-dir /var/lib/warren warren \
    && install -d -m 0700 -o warren -g warren /var/lib/warren
COPY --from=binary /usr/local/bin/warren /usr/local/bin/warren
COPY LICENSE /usr/share/doc/warren/LICENSE
USER warren
WORKDIR /var/lib/warren
ENTRYPOINT ["warren"]
CMD ["--help"]
