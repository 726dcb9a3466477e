# Two images. `ml` (the last, so the default): training and inference as a job, the dashboard as a server. `mlflow`: the
# tracking server, whose packages do not fit beside the project's. Build them from the project's folder:
#   docker build --file docker/Dockerfile.ml .
#   docker build --file docker/Dockerfile.ml --target mlflow .
#
# The first stage is the same in every Dockerfile here, so that it is built once: the checkout as `make setup` leaves it.
FROM python:3.11.15-slim-bookworm AS project
# make runs the project's own set-up; Debian's newest one will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home shoplake \
    && install --directory --owner shoplake --group shoplake \
        /opt/shoplake /data /secrets/airflow /secrets/dashboard /secrets/jupyter \
        /secrets/postgres
USER 1000
WORKDIR /opt/shoplake
ENV PATH=/opt/shoplake/.venv/bin:$PATH PYTHONUNBUFFERED=1 REQUIREMENTS=requirements.txt UV_LINK_MODE=copy
# First the packages, a layer that changes with the pins only: for the editable package its name is enough.
COPY --chown=shoplake:shoplake Makefile pyproject.toml setup.py requirements.txt ./
RUN --mount=type=cache,target=/home/shoplake/.cache,uid=1000,gid=1000 \
    mkdir shoplake && touch README.md shoplake/__init__.py && make /opt/shoplake/.venv/.setup-done
# Then the project, and what `make setup` puts beside the packages: JVM jars, Spark's settings, a Java.
COPY --chown=shoplake:shoplake . .
RUN --mount=type=cache,target=/home/shoplake/.ivy2,uid=1000,gid=1000 make setup

FROM python:3.11.15-slim-bookworm AS mlflow
RUN useradd --uid 1000 --create-home shoplake \
    && install --directory --owner shoplake --group shoplake /opt/mlflow /mlflow
USER 1000
WORKDIR /opt/mlflow
ENV PATH=/opt/mlflow/.venv/bin:$PATH PYTHONUNBUFFERED=1
COPY --chown=shoplake:shoplake docker/requirements-mlflow.txt docker/is_healthy.sh docker/
RUN --mount=type=cache,target=/home/shoplake/.cache,uid=1000,gid=1000 \
    python -m venv .venv && .venv/bin/python -m pip install --require-hashes --requirement docker/requirements-mlflow.txt
EXPOSE 5000
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000"]

FROM project AS ml
EXPOSE 8501
CMD ["python", "ml/train.py"]
