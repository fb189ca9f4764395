# One image for everything: an argument says which service runs, such as `docker run headrace:0.1.0 edge`.
#
#   docker build -t headrace:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#   docker build -t headrace:0.1.0 --build-arg LOCAL_MODEL=1 .        with the local model and llama.cpp
#
# docs/image.md says what is in it. `make image-check` lints this file; tests/repo/test_image.py does its COPYs
# and starts what comes of them.

# The same minor version that the tests run with. To renew: ask for the digest of the newest build of the tag,
# `docker buildx imagetools inspect python:3.11-slim-trixie`, and write tag and digest here.
ARG PYTHON_IMAGE=python:3.11.17-slim-trixie@sha256:45037981b62b34b44602584fccbc4d884d5f7dc92c7ee86bb38a698a79fe1e51
# 1 takes the local model in: it needs no provider and no key, and about 200 MB.
ARG LOCAL_MODEL=0


# What installs: uv, by hash. Nothing of it is in the image that comes out.
FROM ${PYTHON_IMAGE} AS build
ENV UV_LINK_MODE=copy \
    UV_NO_CACHE=1
WORKDIR /build
COPY requirements/ requirements/
RUN python -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: \
        --require-hashes -r requirements/uv.txt \
    && python -m venv --without-pip /app/.venv \
    && groupadd --gid 65532 headrace \
    && useradd --uid 65532 --gid headrace --home-dir /var/lib/headrace --no-create-home \
        --shell /usr/sbin/nologin headrace \
    && install -d -m 0700 -o headrace -g headrace /var/lib/headrace


FROM build AS dependencies-0
RUN /opt/uv/bin/uv pip install --python /app/.venv/bin/python --no-deps --only-binary :all: \
        --require-hashes --excludes requirements/local-model.txt -r requirements/run.txt


FROM build AS dependencies-1
# llama.cpp is built with OpenMP, which the slim image lacks. Copied beside Python's own libraries, where
# LD_LIBRARY_PATH below finds it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && cp -L /usr/lib/*-linux-gnu/libgomp.so.1 /app/.venv/lib/ \
    && /opt/uv/bin/uv pip install --python /app/.venv/bin/python --no-deps --only-binary :all: \
        --require-hashes -r requirements/run.txt


# Compiled once, because a read-only root keeps nothing that is compiled later. By hash, not by time: a builder
# may set the times of files. Unchecked, because nobody edits files of an image.
# hadolint ignore=DL3006
FROM dependencies-${LOCAL_MODEL} AS dependencies
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /app/.venv/lib


FROM ${PYTHON_IMAGE} AS program
WORKDIR /app
COPY LICENSE .
COPY gen/ gen/
COPY kit/ kit/
COPY services/ services/
COPY deploy/ deploy/
COPY cli/ cli/
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /app


FROM ${PYTHON_IMAGE}
ARG LOCAL_MODEL
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Headrace" \
      org.opencontainers.image.description="A self-hosted AI gateway as a set of gRPC services" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=dependencies /etc/passwd /etc/group /etc/
COPY --from=dependencies --chown=65532:65532 /var/lib/headrace/ /var/lib/headrace/
COPY --from=dependencies /app/.venv/ /app/.venv/
COPY --from=program /app/ /app/
# Addresses that other containers can reach: a container's own loopback is of use to nobody. HOME is where the
# user may write, for libraries that look for a file of their own there.
ENV PATH="/app/.venv/bin:${PATH}" \
    LD_LIBRARY_PATH=/app/.venv/lib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/headrace \
    HEADRACE_DATA_DIR=/var/lib/headrace \
    HEADRACE_LISTEN=0.0.0.0:9000 \
    HEADRACE_ADMIN_LISTEN=0.0.0.0:9100 \
    HEADRACE_EDGE_LISTEN_HTTP=0.0.0.0:8080 \
    HEADRACE_LOCAL_ENABLED=${LOCAL_MODEL}
WORKDIR /app
USER 65532:65532
EXPOSE 8080 8443 8444/udp 9000 9090 9100 9101 9443
STOPSIGNAL SIGTERM
# For engines whose health checks are commands. Kubernetes passes over it and asks port 9101 itself.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --start-interval=1s \
    CMD ["/app/.venv/bin/python", "-I", "-S", "/app/deploy/image/healthy.py"]
ENTRYPOINT ["/app/.venv/bin/python", "-m", "services"]
