# Images of rerankd: instances (`serve`, the default command) and workers (`worker`) alike.
#   CPU:  docker build --build-arg VERSION=1.2.3 -t rerankd:1.2.3 .
#   CUDA: docker build --build-arg VERSION=1.2.3 --target cuda -t rerankd:1.2.3-cuda .
# `make image` takes the version from the git tag. What each folder and variable is: docs/deploy.md.

FROM python:3.11.14-slim-bookworm AS tools
# Wheels only: no dependency is compiled. The kernels of rerankd are, by a compiler that is a wheel, too.
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PIP_ONLY_BINARY=:all: \
    PIP_CONSTRAINT=/src/constraints.txt \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_CONSTRAINT=/src/constraints.txt
WORKDIR /src
COPY pyproject.toml constraints.txt ./
COPY scripts/requirements.py scripts/
RUN pip install uv==0.13.9 \
    && python -m venv --without-pip /opt/venv

# The dependencies are layers of their own: a new version of rerankd leaves them as they are.
FROM tools AS dependencies
RUN python scripts/requirements.py redis queue otel parquet registry > requirements.txt \
    && python -m uv pip install --python /opt/venv --only-binary :all: --requirement requirements.txt

# The wheels of torch bring CUDA's libraries; the machine brings the driver.
FROM tools AS dependencies-cuda
RUN python scripts/requirements.py redis queue otel parquet registry torch > requirements.txt \
    && python -m uv pip install --python /opt/venv --only-binary :all: --requirement requirements.txt

FROM tools AS package
RUN pip install ziglang==0.17.1
COPY README.md LICENSE NOTICE ./
COPY scripts/build_kernels.py scripts/
COPY src src
ARG VERSION=""
RUN CC="/usr/local/bin/python -m ziglang cc -target x86_64-linux-gnu.2.17" \
    SETUPTOOLS_SCM_PRETEND_VERSION_FOR_RERANKD="${VERSION}" python -m uv build --wheel --out-dir /wheels . \
    && python -m uv pip install --python /opt/venv --no-deps --no-index --prefix /opt/app /wheels/rerankd-*.whl

FROM python:3.11.14-slim-bookworm AS runtime
RUN groupadd --gid 10001 rerankd \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/rerankd --no-create-home --shell /usr/sbin/nologin rerankd \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/rerankd \
    && install --directory --mode=0755 /etc/rerankd
# State goes to one volume; everything else may be read-only, but for /tmp.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/rerankd \
    XDG_CACHE_HOME=/var/lib/rerankd/cache \
    XDG_CONFIG_HOME=/var/lib/rerankd/config \
    XDG_DATA_HOME=/var/lib/rerankd/data \
    XDG_STATE_HOME=/var/lib/rerankd/state \
    RERANKD_HOST=0.0.0.0 \
    RERANKD_PORT=8000 \
    RERANKD_LOG_FORMAT=json \
    RERANKD_DRAIN_SECONDS=10 \
    RERANKD_JOBS_PATH=/var/lib/rerankd/jobs.sqlite
# rerankd.toml is read from the working folder; mount yours there.
WORKDIR /etc/rerankd
VOLUME /var/lib/rerankd
EXPOSE 8000
STOPSIGNAL SIGTERM
USER 10001:10001
# For instances; workers listen on no port, and deployments give them a check of their own.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['RERANKD_PORT']), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["rerankd"]
CMD ["serve"]
LABEL org.opencontainers.image.title="rerankd" \
      org.opencontainers.image.description="The reranking system for RAG: cross-encoders that put what answers first" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=dependencies-cuda /opt/venv /opt/venv
COPY --from=package /opt/app /opt/venv
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS cpu
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=package /opt/app /opt/venv
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
