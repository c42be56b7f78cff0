#!/usr/bin/env bash
# Run entrojax on a Cloud TPU slice: the same command on each of its hosts.
#
#   export NAME=mine ZONE=us-east5-a TYPE=v5p-128 VERSION=v2-alpha-tpuv5
#   slice.sh create           request the slice and wait until it is active
#   slice.sh setup            copy the last commit to every host and install it
#   slice.sh run ARGUMENTS    start `python -m entrojax.main --distributed`
#   slice.sh logs [LINES]     print the last lines of every host's log
#   slice.sh state            print the slice's state and, if the run has ended,
#                             its exit status
#   slice.sh keep ARGUMENTS   do all of this, again after each preemption, until
#                             the run is complete
#   slice.sh delete           give the slice back
#
# REQUEST: further arguments of the request, such as --spot or --reserved
# PREPARE: a command that setup runs on every host, to mount disks or copy models
# ENVIRONMENT: further variables of the run, such as "WANDB_MODE=offline"
set -euo pipefail
usage() {
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
  exit 2
}
case ${1:-} in
  create | setup | run | logs | state | keep | delete) ;;
  *) usage ;;
esac
: "${NAME:?a name for the slice}" "${ZONE:?its zone}"
SECONDS_BETWEEN_LOOKS=${SECONDS_BETWEEN_LOOKS:-60}
# compiled graphs are kept for the next start
OURS='JAX_COMPILATION_CACHE_DIR=$HOME/.cache/jax TF_CPP_MIN_LOG_LEVEL=1'
# exit statuses of a run that is restarted: interrupted, terminated, killed,
# aborted because another host left, or gone without a status
RESTARTED="130 143 137 134 GONE"

request() {
  gcloud compute tpus queued-resources "$1" "$NAME" --zone="$ZONE" "${@:2}"
}

slice_state() { # NONE: there is no request; LOST: the cloud does not answer
  local errors
  errors=$(mktemp)
  request describe --format='value(state.state)' 2>"$errors" ||
    if grep -qiE 'not[_ ]found' "$errors"; then echo NONE; else echo LOST; fi
  rm -f "$errors"
}

on_hosts() { # WORKER COMMAND
  gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker="$1" \
    --command="$2"
}

create() {
  # shellcheck disable=SC2086
  request create --node-id="$NAME" --accelerator-type="${TYPE:?such as v5p-128}" \
    --runtime-version="${VERSION:?such as v2-alpha-tpuv5}" ${REQUEST:-} || return
  wait_for_slice
}

wait_for_slice() {
  local state
  until state=$(slice_state) && [ "$state" = ACTIVE ]; do
    case $state in
      FAILED | SUSPENDED)
        echo "the request for $NAME is $state" >&2
        return 1
        ;;
    esac
    sleep "$SECONDS_BETWEEN_LOOKS"
  done
}

setup() { # the file `installed` says that a host has all of it
  local archive
  archive=$(mktemp -d)/entrojax.tar.gz
  git -C "$(dirname "$0")/../.." archive --output="$archive" HEAD || return
  gcloud compute tpus tpu-vm scp "$archive" "$NAME:entrojax.tar.gz" \
    --zone="$ZONE" --worker=all || return
  on_hosts all 'set -e
    rm -f installed
    command -v python3.11 ||
      { sudo apt-get update && sudo apt-get install -y python3.11-venv; }
    rm -rf entrojax && mkdir entrojax && tar -xzf entrojax.tar.gz -C entrojax
    cd entrojax && python3.11 -m venv .venv
    jax=$(grep -o "^jax==[^ ]*" requirements.txt)
    .venv/bin/pip install --quiet -r requirements.txt "jax[tpu]${jax#jax}"' ||
    return
  on_hosts all "{ ${PREPARE:-true}
    } && touch installed"
}

run() {
  local arguments started
  arguments=$(printf ' %q' "$@")
  started="env $OURS ${ENVIRONMENT:-} .venv/bin/python -m entrojax.main \
--distributed$arguments; echo \$? > ../status"
  # a process that was left behind still holds the chips of its host
  on_hosts all "if [ -f pid ] && kill -- -\$(cat pid) 2>/dev/null; then
      while kill -0 -- -\$(cat pid) 2>/dev/null; do sleep 1; done
    fi
    rm -f status
    cd entrojax || exit
    setsid nohup bash -c $(printf %q "$started") >> ../entrojax.log 2>&1 &
    echo \$! > ../pid"
}

logs() {
  on_hosts all "tail -n ${1:-20} entrojax.log | sed \"s/^/\$(hostname): /\""
}

run_status() { # of the first host: its exit status, or empty while it runs
  on_hosts 0 'if [ -f status ]; then cat status
    elif [ ! -e installed ]; then echo BARE
    elif ! grep -qs entrojax.main "/proc/$(cat pid)/cmdline"; then echo GONE
    fi 2>/dev/null'
}

keep() {
  local state status
  while true; do
    state=$(slice_state)
    status=RUNS
    case $state in
      ACTIVE) status=$(run_status || echo LOST) ;;
      NONE) create && status=BARE ;;
      FAILED | SUSPENDED | SUSPENDING)
        echo "the slice is $state: requesting it again" >&2
        delete && create && status=BARE
        ;;
    esac # in all other states the slice is on its way
    case $status in
      0) return 0 ;;
      "" | RUNS | LOST) ;;
      BARE) setup && run "$@" ;;
      *)
        if [[ " $RESTARTED " != *" $status "* ]]; then
          echo "the run ended with status $status:" >&2
          logs || true
          return "$status"
        fi
        run "$@" || echo "the run could not be started" >&2
        ;;
    esac
    sleep "$SECONDS_BETWEEN_LOOKS"
  done
}

state() {
  echo "slice: $(slice_state), run: $(run_status)"
}

delete() {
  request delete --force --quiet
}

"$@"
