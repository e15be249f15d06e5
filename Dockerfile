# The operator. Build it from the root of the checkout.
FROM debian:trixie-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
# The operator's own environment gets no pip: the tools that build it stay in this stage.
RUN python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/venv
# Requirements before the source, so that a change of the source does not install them anew.
COPY requirements/build.txt requirements/runtime.txt requirements/apprise.txt /src/requirements/
# `--build-arg EXTRAS=apprise` adds the channel of that name: eight packages (27 MB) that nothing else needs, so they are not in by default.
ARG EXTRAS=
RUN /opt/build/bin/pip install --no-cache-dir --no-compile --require-hashes -r /src/requirements/build.txt \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --require-hashes \
      -r /src/requirements/runtime.txt ${EXTRAS:+-r /src/requirements/$EXTRAS.txt}
COPY pyproject.toml README.md /src/
COPY crds /src/crds
COPY operator /src/operator
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheel /src \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-index --no-deps /tmp/wheel/*.whl
# The root file system is read-only at run time, so the byte code has to be there already.
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

FROM debian:trixie-slim
LABEL org.opencontainers.image.title="docuquery-operator" \
      org.opencontainers.image.description="Heals, backs up and reports on DocuQuery AI stacks" \
      org.opencontainers.image.licenses="Apache-2.0"
# The server of PostgreSQL is for drills: a backup is restored into one that lives in the Job's own pod.
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates tzdata postgresql-common \
 && sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
 && apt-get install -y --no-install-recommends postgresql-17 \
 # Just-in-time compilation is off in drills, and its library is larger than all of the server.
 && dpkg-query --show --showformat '${Package}\n' 'libllvm*' | xargs dpkg --purge --force-depends \
 && rm -rf /usr/lib/postgresql/17/lib/bitcode /usr/lib/postgresql/17/lib/llvmjit* \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb \
 && useradd --uid 65532 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin docuquery
COPY --from=build /opt/venv /opt/venv
# One malloc arena a core would let the resident memory of a threaded process grow for nothing.
ENV PATH=/opt/venv/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/venv/bin/python", "-m", "docuquery_operator"]
