# A worker without a GPU, with the small model that Tessera brings. Build it from the repository's root:
#   docker build -f deploy/docker/worker-cpu.Dockerfile -t tessera/worker-cpu:0.1.0 .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# Where the CPU build of PyTorch is, unless pip is told otherwise: `--build-arg PIP_EXTRA_INDEX_URL=…`.
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /opt/tessera
COPY deploy/docker/requirements-build.txt deploy/docker/requirements-worker-cpu.txt /tmp/
RUN /opt/tessera/bin/pip install --require-hashes --no-deps -r /tmp/requirements-worker-cpu.txt
COPY pyproject.toml README.md /src/
COPY server /src/server
RUN python3 -m venv /tmp/builder \
    && /tmp/builder/bin/pip install --require-hashes --no-deps -r /tmp/requirements-build.txt \
    && /tmp/builder/bin/pip wheel --no-build-isolation --no-deps -w /tmp/wheel /src \
    && /opt/tessera/bin/pip install --no-deps /tmp/wheel/*.whl \
    && /opt/tessera/bin/pip uninstall --yes pip

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Tessera worker (CPU)" \
    org.opencontainers.image.description="vLLM under Ray, for an inference server for multimodal language models" \
    org.opencontainers.image.version="${VERSION}"
# What vLLM compiles with as it starts, and counts cores with; security fixes of these come with the base's release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libnuma1 libgomp1 procps wget \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/tessera /opt/tessera
# Where the settings look for it.
COPY models/nano/checkpoint /opt/tessera/lib/python3.11/models/nano/checkpoint
# KubeRay starts Ray from a login shell, which has a PATH of its own.
RUN groupadd --gid 10001 tessera \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin tessera \
    && ln -s /opt/tessera/bin/ray /opt/tessera/bin/tessera /usr/local/bin/
ENV PATH=/opt/tessera/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TESSERA_WORKER_FOLDER=/tmp/tessera
USER 10001:10001
WORKDIR /tmp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m CMD ["sh", "-c", "ls /tmp/tessera/serving-*"]
ENTRYPOINT ["tessera"]
CMD ["worker"]
