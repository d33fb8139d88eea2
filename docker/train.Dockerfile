# Training, comparison and export. Checked with hadolint, but not built, for lack of a container engine: build it, run `docker run IMAGE launch/pretrain.py --help`, and pin the base by its digest.
#   docker build -f docker/train.Dockerfile -t mae_rad-train .
#   docker run --gpus all --ipc=host -v /public:/public:ro -v /runs:/runs mae_rad-train \
#     launch/pretrain.py --config configs/pretrain/mae.yaml data.shards=/public/shards runtime.run_dir=/runs/mae
# The wheels of torch bring CUDA; the host brings the driver and the NVIDIA container toolkit. --ipc=host: the loader's
# workers pass batches in shared memory, of which a container has 64 MB by default.
FROM python:3.11.11-slim-bookworm

# gcc: torch.compile; pdsh and ssh: `deepspeed --hostfile` (not needed under Slurm).
# Versions are not pinned: Debian keeps only those of its last point release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev openssh-client pdsh \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/mae_rad
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY data_prep data_prep
COPY mae_rad mae_rad
COPY configs configs
RUN pip install --no-cache-dir --constraint constraints.txt '.[train]'
COPY launch launch

# Works under any user: `docker run --user $(id -u):$(id -g)` writes runs under your account. Caches are in /tmp.
ENV HOME=/tmp PYTHONUNBUFFERED=1 MLFLOW_DISABLE_TELEMETRY=true
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mae_rad
USER 10001
ENTRYPOINT ["python"]
