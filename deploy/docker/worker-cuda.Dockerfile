# A worker for NVIDIA's GPUs, on vLLM's own image, which has CUDA, PyTorch and vLLM. Build it from the repository's root:
#   docker build -f deploy/docker/worker-cuda.Dockerfile --build-arg VLLM_VERSION=v0.32.0 -t tessera/worker-cuda:0.1.0 .
ARG VLLM_VERSION=v0.32.0
ARG BASE=vllm/vllm-openai:${VLLM_VERSION}

FROM ${BASE} AS wheel
# Where Python is the distribution's, pip would install nothing beside its packages.
ENV PIP_BREAK_SYSTEM_PACKAGES=1
COPY deploy/docker/requirements-build.txt /tmp/
COPY pyproject.toml README.md /src/
COPY server /src/server
RUN python3 -m pip install --no-cache-dir --require-hashes --no-deps -r /tmp/requirements-build.txt \
    && python3 -m pip wheel --no-cache-dir --no-build-isolation --no-deps -w /tmp/wheel /src

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Tessera worker (CUDA)" \
    org.opencontainers.image.description="vLLM under Ray, for an inference server for multimodal language models" \
    org.opencontainers.image.version="${VERSION}"
ARG CHECK="import ray.serve, tessera.worker.application, tessera.worker.bridge"
COPY deploy/docker/requirements-worker-cuda.txt /tmp/
COPY --from=wheel /tmp/wheel /tmp/wheel
# What vLLM's image has stays as it is; the last line fails where that does not do for a worker.
RUN export PIP_BREAK_SYSTEM_PACKAGES=1 \
    && python3 -m pip install --no-cache-dir --require-hashes --no-deps -r /tmp/requirements-worker-cuda.txt \
    && python3 -m pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
    && rm -rf /tmp/wheel /tmp/requirements-worker-cuda.txt \
    && python3 -c "${CHECK}"
# KubeRay starts Ray from a login shell, which has a PATH of its own.
RUN groupadd --gid 10001 tessera \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin tessera \
    && for name in ray tessera python; do \
         path="$(command -v "$name" || command -v python3)"; \
         [ "$path" = "/usr/local/bin/$name" ] || ln -sf "$path" "/usr/local/bin/$name"; \
       done
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TESSERA_WORKER_FOLDER=/tmp/tessera \
    TESSERA_GPUS_PER_REPLICA=1
USER 10001:10001
WORKDIR /tmp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60m CMD ["sh", "-c", "ls /tmp/tessera/serving-*"]
# vLLM's image has an entry point of its own.
ENTRYPOINT ["tessera"]
CMD ["worker"]
