#!/usr/bin/env bash
# Run entrojax on one or more slices of a GKE cluster, through XPK.
#
#   pip install xpk
#   export CLUSTER=mine PROJECT=my-project ZONE=us-east5-a TYPE=v5p-128
#   xpk.sh NAME --config=configs/... --workdir=/mnt/runs/NAME ...
#
# XPK builds an image from this folder and a plain Python, and starts it on every
# host. If a host fails, all hosts are restarted, up to RESTARTS times, and the
# run resumes from its newest checkpoint.
#
# SLICES: the number of slices of this TYPE, which make one run
# CACHE: a folder on a shared disk for compiled graphs, kept between starts
# MOUNT: further arguments of XPK, such as --storage=NAME for a shared disk
set -euo pipefail
if [ $# = 0 ]; then
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
  exit 2
fi
: "${CLUSTER:?}" "${PROJECT:?}" "${ZONE:?}" "${TYPE:?such as v5p-128}"
workload=$1
shift
jax=$(grep -o '^jax==[^ ]*' "$(dirname "$0")/../../requirements.txt")
install="pip install -q -r requirements.txt 'jax[tpu]${jax#jax}'"
run="python -m entrojax.main --distributed$(printf ' %q' "$@")"
# shellcheck disable=SC2086
cd "$(dirname "$0")/../.." && xpk workload create \
  --cluster="$CLUSTER" --project="$PROJECT" --zone="$ZONE" \
  --workload="$workload" --tpu-type="$TYPE" --num-slices="${SLICES:-1}" \
  --base-docker-image=python:3.11 --script-dir=. \
  --max-restarts="${RESTARTS:-50}" ${MOUNT:-} \
  --command="$install && TF_CPP_MIN_LOG_LEVEL=1 \
JAX_COMPILATION_CACHE_DIR=${CACHE:-/tmp/jax} exec $run"
