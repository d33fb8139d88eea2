#!/bin/bash
# Shards on a Slurm cluster without submitit: an array of parts, then a job that publishes the folder.
#   launch/slurm/shard.sh PRIVATE PUBLIC JOBS [key=value …]
# Both folders and the archive are on disks shared by all nodes. Options of the site: SBATCH_PARTITION, SBATCH_ACCOUNT, …
# (environment variables of sbatch). A preempted part is requeued and resumes; so does this command if it is run again.
#SBATCH --requeue
set -euo pipefail
if [ "${SLURM_ARRAY_TASK_ID:-}" ]; then
  exec python -m data_prep shard "$1" --out "$2" "${@:4}" \
    runtime.part="$SLURM_ARRAY_TASK_ID/$3" runtime.workers="${SLURM_CPUS_PER_TASK:-1}"
fi
if [ $# -lt 3 ]; then
  sed -n '2,5s/^# //p' "$0" >&2
  exit 2
fi
unset MAE_RAD_KEY # jobs need no secret, and Slurm keeps their environment
mkdir -p -m 700 "$1/slurm"
logs=$(cd "$1" && pwd)/slurm
options=(--parsable --cpus-per-task="${SBATCH_CPUS_PER_TASK:-8}" --mem-per-cpu="${SBATCH_MEM_PER_CPU:-4G}" --requeue
  --output="$logs/%A_%a.log" --open-mode=append)
array=$(sbatch "${options[@]}" --job-name=mae_rad_shards --array="0-$(($3 - 1))" "$0" "$@")
sbatch "${options[@]}" --output="$logs/%j.log" --job-name=mae_rad_publish --dependency="afterany:$array" \
  --wrap "$(printf '%q ' python -m data_prep shard "$1" --out "$2" "${@:4}")"
