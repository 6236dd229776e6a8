# The image of Warren: one binary, for every role.
#
#   docker build -t warren .
#   docker run --rm warren --help

# Other base images may be given, from a registry of your own for example.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG BASE_IMAGE=debian:bookworm-slim
# The stage, or the image, that has /usr/local/bin/warren. With BuildKit, an image here saves the build.
ARG BINARY=build

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin warren && install target/release/warren /usr/local/bin/

FROM ${BINARY} AS binary

FROM ${BASE_IMAGE}
# Compiled guests run as this user: nobody else may write where they are kept.
RUN useradd --system --uid 7700 --user-group --home-dir /var/lib/warren warren \
    && install -d -m 0700 -o warren -g warren /var/lib/warren
COPY --from=binary /usr/local/bin/warren /usr/local/bin/warren
USER warren
WORKDIR /var/lib/warren
ENTRYPOINT ["warren"]
CMD ["--help"]
