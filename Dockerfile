# The controller and what it needs, on Debian's own Python. Another base will do if it has Debian's package manager, or
# Python 3.11 with venv and a bundle of CA certificates already.
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS python
# The version of Python is the release's, as is the base. Debian's bytecode goes by the time of its source, which a
# reproducible build sets anew: on a read-only root it would be made again at every start.
# hadolint ignore=DL3008
RUN python3 -c '' 2>/dev/null && test -e /etc/ssl/certs/ca-certificates.crt || { \
      apt-get update -q && \
      apt-get install -qy --no-install-recommends python3 ca-certificates && \
      rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig && \
      python3 -m compileall -qf --invalidation-mode unchecked-hash "$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"; \
    }

FROM python AS build
# hadolint ignore=DL3008
RUN python3 -c 'import ensurepip' 2>/dev/null || { \
      apt-get update -q && apt-get install -qy --no-install-recommends python3-venv; \
    }
WORKDIR /build
COPY requirements/build.txt requirements/run.txt requirements/
# The secret `ca` is for a build behind a proxy with a certificate of its own; nobody else has to pass one.
RUN --mount=type=secret,id=ca \
    if [ -e /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi && \
    python3 -m venv tools && \
    tools/bin/pip install --quiet --no-cache-dir --require-hashes --no-deps --only-binary=:all: \
      -r requirements/build.txt && \
    python3 -m venv --without-pip /opt/nodeipam && \
    tools/bin/pip --python /opt/nodeipam/bin/python install --quiet --no-cache-dir --no-compile \
      --require-hashes --no-deps --only-binary=:all: -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY nodeipam nodeipam
RUN tools/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir wheels . && \
    tools/bin/pip --python /opt/nodeipam/bin/python install --quiet --no-compile --no-deps --no-index wheels/* && \
    python3 -m compileall -qf --invalidation-mode unchecked-hash /opt/nodeipam/lib

FROM python
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nodeipam" \
      org.opencontainers.image.description="Gives every Node of a Kubernetes cluster its pod address ranges" \
      org.opencontainers.image.source="https://github.com/nodeipam/nodeipam" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/nodeipam /opt/nodeipam
# A number, so that Kubernetes can tell that it isn't root.
USER 65532:65532
WORKDIR /
EXPOSE 8081
ENTRYPOINT ["/opt/nodeipam/bin/nodeipam"]
