# One image for both processes: `serve` (the backend, the default) and `train` (the trainer).
#
#   docker build -t active-labeler .
#   docker build --build-arg TORCH_BACKEND=auto -t active-labeler .    # with CUDA: some 5 GB more
FROM python:3.12-slim AS build

ARG TORCH_BACKEND=cpu
WORKDIR /app
RUN pip install --no-cache-dir "uv>=0.8,<1" && uv venv /opt/venv
COPY requirements.txt ./
# The packages come first and the code after: a change of code then rebuilds in seconds.
RUN uv pip install --python /opt/venv --torch-backend "$TORCH_BACKEND" --no-cache -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY ml_backend ml_backend
COPY strategies strategies
COPY scripts scripts
RUN uv pip install --python /opt/venv --no-deps --no-cache .

FROM python:3.12-slim

# libgomp1: OpenMP, which torch and scikit-learn compute with.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin labeler \
 && install -d -o labeler -g labeler /data
COPY --from=build /opt/venv /opt/venv

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ACTIVE_LABELER_HOST=0.0.0.0 \
    PORT=9090 \
    MODEL_DIR=/data \
    TORCH_HOME=/data/torch \
    MPLCONFIGDIR=/data/matplotlib
USER labeler
WORKDIR /data
VOLUME /data
EXPOSE 9090

# For `serve`. The trainer listens on nothing: docker-compose.yml checks it by its heartbeat.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=2)"]

ENTRYPOINT ["active-labeler"]
CMD ["serve"]
