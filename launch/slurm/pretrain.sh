#!/bin/bash
# Pretraining on a Slurm cluster, one task per GPU; when preempted or out of time it saves and is queued again.
#   sbatch --nodes=4 --gpus-per-node=8 --ntasks-per-node=8 --cpus-per-task=12 --time=24:00:00 \
#     launch/slurm/pretrain.sh --config configs/pretrain/mae.yaml data.shards=PUBLIC runtime.run_dir=RUN [key=value …]
# MAE_RAD_COMMAND=finetune runs launch/finetune.py instead; MAE_RAD_COMMAND=sweep or pairs, with --array=0-7 --ntasks=1, 8 workers.
# Submit it from the folder of the project. Shards and run folder must be on disks that all nodes can reach. Two minutes
# before the wall time, and at preemption, Slurm sends SIGTERM: all ranks finish their step, save, and exit with 75. The
# site must allow the time for that: GraceTime of the partition, else KillWait. Options of the site: SBATCH_PARTITION, …
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
# The last task of an array has the number of the whole array as its SLURM_JOB_ID; it would queue all tasks again.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then # srun 22.05 and later do not inherit it from sbatch, and give one core;
  export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # without --cpus-per-task a task has its share of the job
fi
# When a rank dies, srun ends the step after --wait seconds, so that the other ranks can first report which one it was.
srun --kill-on-bad-exit=0 --wait="${MAE_RAD_WAIT:-60}" bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
  export LOCAL_WORLD_SIZE=${SLURM_STEP_TASKS_PER_NODE%%[(,]*}
  exec '"${MAE_RAD_PYTHON:-python}"' launch/'"${MAE_RAD_COMMAND:-pretrain}"'.py "$@"' train "$@" &
step=$!
trap 'wait $step' TERM # Slurm signals the step itself; this script only waits for it
wait $step
code=$?
while kill -0 $step 2>/dev/null; do
  wait $step
  code=$?
done
# 143, 138: the signal came before the training began or after it ended, or to a sweep, which ends when its trainings have
# saved; nothing is lost. A job that was cancelled, or that Slurm itself queues again, is no longer RUNNING, and not queued.
if [[ $code =~ ^(75|143|138)$ && $(scontrol show job "$job") == *JobState=RUNNING* ]] && [ "${SLURM_RESTART_COUNT:-0}" -lt "$most_restarts" ]; then
  echo "exit code $code; queued again (start $((${SLURM_RESTART_COUNT:-0} + 2)))"
  scontrol requeue "$job"
fi
exit $code
