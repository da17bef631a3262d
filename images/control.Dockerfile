# Image `control`: operator, gateway, event store and console; no torch.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv /opt/mgoe
COPY pyproject.toml mgoe.py ./
COPY constraints constraints
COPY model model
COPY components components
COPY pipelines pipelines
COPY serving serving
# Settings of pip (index, certificates) are a secret of the build: they are in no layer.
# pyproject.toml names the README, which no image needs: without it, a change in it rebuilds nothing.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    touch README.md \
 && /opt/mgoe/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-compile \
      --constraint constraints/control.txt '.[control]' \
 && /opt/mgoe/bin/python -m pip uninstall --yes --quiet pip

FROM ${BASE}
RUN groupadd --gid 10001 mgoe && useradd --uid 10001 --gid 10001 --create-home --home-dir /home/mgoe mgoe
COPY --from=build /opt/mgoe /opt/mgoe
ENV PATH=/opt/mgoe/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number, so that Kubernetes can tell that it is not root.
USER 10001:10001
WORKDIR /home/mgoe
ENTRYPOINT ["mgoe"]
CMD ["--help"]
