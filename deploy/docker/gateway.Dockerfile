# A gateway: no torch, no vLLM, no Ray. Build it from the repository's root:
#   docker build -f deploy/docker/gateway.Dockerfile -t tessera/gateway:0.1.0 .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/tessera
COPY deploy/docker/requirements-build.txt deploy/docker/requirements-gateway.txt /tmp/
RUN /opt/tessera/bin/pip install --require-hashes --no-deps --no-compile --only-binary=:all: -r /tmp/requirements-gateway.txt
COPY pyproject.toml README.md /src/
COPY server /src/server
# What builds our own wheel is not in the image. tokenizers asks for a client of its hub, which nothing here calls.
RUN python3 -m venv /tmp/builder \
    && /tmp/builder/bin/pip install --require-hashes --no-deps -r /tmp/requirements-build.txt \
    && /tmp/builder/bin/pip wheel --no-build-isolation --no-deps -w /tmp/wheel /src \
    && /opt/tessera/bin/pip install --no-deps --no-compile /tmp/wheel/*.whl \
    && { /opt/tessera/bin/pip check >/tmp/lacking || ! grep -v '^tokenizers .* requires huggingface-hub, ' /tmp/lacking; } \
    && /opt/tessera/bin/pip uninstall --yes pip setuptools
# Neither are tests, what compilers and type checkers read, NumPy's own compilers, how to colour 500 languages, and what
# debuggers read of libraries.
COPY deploy/docker/strip.py deploy/docker/bytecode.py /opt/tessera/
WORKDIR /opt/tessera/lib/python3.11/site-packages
RUN find . -type d -name tests -prune -exec rm -r {} + \
    && find . -type f -regex '.*\.\(pyi\|pyx\|pxd\|pxi\|c\|h\|a\)' -delete \
    && rm -r numpy/f2py numpy/distutils numpy/_core/_simd.*.so numpy/_core/_*_tests.*.so \
    && find pygments/lexers -name '*.py' ! -name __init__.py ! -name _mapping.py ! -name python.py ! -name special.py -delete \
    && python3 /opt/tessera/strip.py . \
    && rm /opt/tessera/strip.py

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Tessera gateway" \
    org.opencontainers.image.description="The HTTP side of an inference server for multimodal language models" \
    org.opencontainers.image.version="${VERSION}"
COPY --from=build /opt/tessera /opt/tessera
# A gateway cannot write there, and would compile all of it at each start.
RUN ["/opt/tessera/bin/python", "/opt/tessera/bytecode.py"]
RUN groupadd --gid 10001 tessera \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tessera
ENV PATH=/opt/tessera/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
# Kubernetes has probes of its own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"TESSERA_PORT\", \"8000\")}/livez', timeout=4)"]
# In exec form, so that SIGTERM reaches the gateway and not a shell.
ENTRYPOINT ["tessera"]
CMD ["gateway"]
