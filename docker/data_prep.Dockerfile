# Archive to shards, on a host with patient data: no torch, no compiler, no network at run time. Checked with hadolint,
# but not built, for lack of a container engine: build it, run
# `docker run IMAGE --help`, and pin the base by its digest.
#   docker build -f docker/data_prep.Dockerfile -t mae_rad-data-prep .
#   docker run --network none --read-only --tmpfs /tmp --user $(id -u):$(id -g) -e MAE_RAD_KEY \
#     -v /archive:/archive:ro -v /private:/private -v /public:/public mae_rad-data-prep \
#     scan /archive --out /private/scan
# Only `scan` gets the secret, which is never part of an image.
FROM python:3.11.11-slim-bookworm

WORKDIR /opt/mae_rad
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY data_prep data_prep
COPY mae_rad mae_rad
COPY configs/data_prep configs/data_prep
RUN pip install --no-cache-dir --constraint constraints.txt . \
    && python -c "import data_prep.cli.main, importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"

ENV HOME=/tmp PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mae_rad
USER 10001
ENTRYPOINT ["python", "-m", "data_prep"]
