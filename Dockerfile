# The service for CUDA (FP16, as configs/tts_infer.yaml has it), or with --build-arg DEVICE=cpu for machines without.
#
#   docker build -t sovits-service .            # with --build-arg EXTRAS=all,ray for a Ray cluster
#   docker run --gpus all -p 127.0.0.1:9880:9880 -v ./pretrained_models:/app/pretrained_models sovits-service
#
# Published to this machine alone. For others: -e SOVITS_API_KEYS='[{"name": "web", "sha256": "..."}]' -p 9880:9880
#
# Weights are a volume: none is in a layer, not even the demonstration pack's. docker run ... sovits-service download
# v2ProPlus --switch fetches published ones into it (mount ./configs:/app/configs too, to keep the switch).
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm AS build
ARG DEVICE=cuda
ARG EXTRAS=all
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY constraints.txt ./
# The wheel on PyPI brings its CUDA libraries along: the host needs the driver and the container toolkit alone.
RUN case "$DEVICE" in \
      cuda) pip install -c constraints.txt torch ;; \
      cpu) pip install -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch ;; \
      *) echo "DEVICE must be cuda or cpu" >&2; exit 1 ;; \
    esac
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY voices voices
COPY pretrained_models/demo/README.md pretrained_models/demo/README.md
COPY src src
RUN pip install -c constraints.txt ".[$EXTRAS]"

FROM python:${PYTHON}-slim-bookworm
RUN useradd --uid 10001 --create-home app && mkdir -p /app/pretrained_models /app/uploads /app/jobs /app/cache && chown -R app /app
COPY --from=build /opt/venv /opt/venv
COPY --chown=app configs /app/configs
COPY --chown=app voices /app/voices
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 SOVITS_HOST=0.0.0.0 SOVITS_LOG_FORMAT=json
USER app
WORKDIR /app
VOLUME ["/app/pretrained_models", "/app/uploads", "/app/jobs"]
EXPOSE 9880
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('SOVITS_PORT', 9880)}/health\", timeout=4)"]
ENTRYPOINT ["sovits-service"]
CMD ["serve"]
