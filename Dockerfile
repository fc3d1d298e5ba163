# One image for every process: the API, the workers, the relay, the tracking, `orderflow setup`, the gateway simulator.
# The command says which; every setting comes from the environment (docs/configuration.md).

FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Two environments: what builds our wheel stays here, the other one is the image.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/orderflow
COPY requirements.build.lock requirements.runtime.lock ./
RUN /opt/build/bin/pip install --require-hashes --requirement requirements.build.lock \
    && /opt/build/bin/pip --python /opt/orderflow/bin/python install \
        --require-hashes --only-binary :all: --requirement requirements.runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY events events
COPY orderflow orderflow
COPY workflows workflows
COPY activities activities
COPY operations operations
COPY api api
COPY workers workers
COPY cli cli
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/orderflow/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="OrderFlow" \
    org.opencontainers.image.description="Orders as Temporal workflows, with one event stream on Kafka." \
    org.opencontainers.image.licenses="Apache-2.0"
# A volume mounted at /var/lib/orderflow takes the owner that the folder has here.
RUN groupadd --gid 10001 orderflow \
    && useradd --uid 10001 --gid orderflow --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin orderflow \
    && install -d -o orderflow -g orderflow /var/lib/orderflow /var/lib/orderflow/public \
    && install -d -o orderflow -g orderflow -m 700 /var/lib/orderflow/private /var/lib/orderflow/keyring
COPY --from=build /opt/orderflow /opt/orderflow
COPY migrations /app/migrations
WORKDIR /app
ENV PATH=/opt/orderflow/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORDERFLOW_MIGRATIONS_DIR=/app/migrations
USER 10001:10001
CMD ["orderflow", "--help"]
