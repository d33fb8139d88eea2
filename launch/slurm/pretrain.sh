#!/bin/bash
# Pretraining on a Slurm cluster, one task per GPU; preempted or at the time limit, it saves a checkpoint and is requeued.
#   sbatch --nodes=4 --gpus-per-node=8 --ntasks-per-node=8 --cpus-per-task=12 --time=24:00:00 \
#     launch/slurm/pretrain.sh --config configs/pretrain/mae.yaml data.shards=PUBLIC runtime.run_dir=RUN [key=value …]
# MAE_RAD_COMMAND=finetune in the environment runs launch/finetune.py instead.
# Submit it from the folder of the project. Shards and run folder are on disks shared by all nodes. Two minutes
# before the time limit, and on preemption, Slurm sends SIGTERM: all ranks finish their step, save, and exit with 75. The
# site must allow for this: GraceTime of the partition, else KillWait. Options of the site: SBATCH_PARTITION, …
#SBATCH --job-name=mae_rad_pretrain
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -uo pipefail
if [ $# -lt 1 ] || [ -z "${SLURM_JOB_ID:-}" ]; then
  sed -n '2,8s/^# //p' "$0" >&2
  exit 2
fi
most_restarts=${MAE_RAD_MOST_RESTARTS:-100}
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then # since 22.05 srun does not inherit it from sbatch, and would use one core;
  export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # if it is not set, a task has its share of the job
fi
# If a rank dies, the step ends; the wait lets the other ranks report it first.
srun --kill-on-bad-exit=0 --wait="${MAE_RAD_WAIT:-60}" bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  export LOCAL_WORLD_SIZE=${SLURM_STEP_TASKS_PER_NODE%%[(,]*}
  exec '"${MAE_RAD_PYTHON:-python}"' launch/'"${MAE_RAD_COMMAND:-pretrain}"'.py "$@"' train "$@" &
step=$!
trap 'wait $step' TERM # the step gets its own signal; this script only waits for its exit code
wait $step
code=$?
while kill -0 $step 2>/dev/null; do
  wait $step
  code=$?
done
# 143, 138: the signal came before training started or after it ended; nothing is lost.
# A cancelled job, and one that Slurm requeues itself, is not RUNNING and is not requeued here.
if [[ $code =~ ^(75|143|138)$ && $(scontrol show job "$SLURM_JOB_ID") == *JobState=RUNNING* ]] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$most_restarts" ]; then
  echo "exit code $code; queued again (start $((${SLURM_RESTART_COUNT:-0} + 2)))"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
