"""The launch scripts, with stand-ins for the programs of a cloud."""

import os
import subprocess

import pytest

from tests.helpers.paths import ROOT

SCRIPTS = ROOT / "experiments" / "launch"

# records its arguments, and answers each question with a line of a file; a line
# that begins with ! is an error. A call that has the text of the first line of
# the file `failures` fails, once
STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >> "$CALLS"
failure=$(head -n 1 "$ANSWERS/failures")
if [ -n "$failure" ] && [[ "$*" == *"$failure"* ]]; then
  sed -i 1d "$ANSWERS/failures"
  exit 1
fi
case "$*" in
  *describe*) file=$ANSWERS/slice ;;
  *"cat status"*) file=$ANSWERS/run ;;
  *) exit 0 ;;
esac
answer=$(head -n 1 "$file")
[ "$(wc -l < "$file")" = 1 ] || sed -i 1d "$file"
if [[ "$answer" == !* ]]; then
  echo "ERROR: (gcloud) ${answer#!}" >&2
  exit 1
fi
echo "$answer"
"""


STARTED = r"entrojax.main\ --distributed\ --config=a.py"


@pytest.fixture
def cloud(tmp_path):
  """Return run(script, *arguments, slices, runs, failures) -> (process, calls).

  `slices` and `runs` are the states of the slice and of the run, in the order
  in which the script asks for them; `failures` are parts of calls that fail.
  """
  for name in ("gcloud", "xpk"):
    (tmp_path / name).write_text(STAND_IN)
    (tmp_path / name).chmod(0o755)
  calls = tmp_path / "calls"

  def run(
    script,
    *arguments,
    slices=("ACTIVE",),
    runs=("0",),
    failures=(),
    **variables,
  ):
    calls.write_text("")
    (tmp_path / "failures").write_text("".join(f"{x}\n" for x in failures))
    (tmp_path / "slice").write_text("".join(f"{x}\n" for x in slices))
    (tmp_path / "run").write_text("".join(f"{x}\n" for x in runs))
    done = subprocess.run(
      [SCRIPTS / script, *arguments],
      env={
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CALLS": str(calls),
        "ANSWERS": str(tmp_path),
        "NAME": "mine",
        "ZONE": "zone",
        "TYPE": "v5p-128",
        "VERSION": "v2-alpha-tpuv5",
        "SECONDS_BETWEEN_LOOKS": "0",
        **variables,
      },
      capture_output=True,
      text=True,
      timeout=30,
    )
    return done, calls.read_text()

  return run


def test_a_slice_is_asked_for_until_it_is_there(cloud):
  done, calls = cloud(
    "slice.sh",
    "create",
    slices=["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"],
    REQUEST="--spot --labels=a=b",
  )
  assert done.returncode == 0, done.stderr
  create, *looks = calls.splitlines()
  assert create == (
    "gcloud compute tpus queued-resources create mine --zone=zone "
    "--node-id=mine --accelerator-type=v5p-128 "
    "--runtime-version=v2-alpha-tpuv5 --spot --labels=a=b"
  )
  assert len(looks) == 3


def test_a_request_that_fails_ends_the_wait(cloud):
  done, _ = cloud("slice.sh", "create", slices=["FAILED"])
  assert done.returncode == 1
  assert "mine is FAILED" in done.stderr


def test_setup_copies_what_is_committed_to_every_host(cloud):
  done, calls = cloud("slice.sh", "setup")
  assert done.returncode == 0, done.stderr
  assert "scp" in calls
  assert calls.count("--worker=all") == 3
  assert "pip install" in calls
  assert calls.index("pip install") < calls.index("touch installed")


def test_the_command_reaches_the_hosts_as_it_was_typed(cloud, tmp_path):
  typed = ["--config=a.py", "--config.mesh=(1, -1, 1)", "--workdir=/x y/'z'"]
  done, calls = cloud("slice.sh", "run", *typed)
  assert done.returncode == 0, done.stderr
  command = calls.partition("--command=")[2]
  # run it as a host's shell does, with a stand-in for the host's Python
  home = tmp_path / "host"
  python = home / "entrojax" / ".venv" / "bin" / "python"
  python.parent.mkdir(parents=True)
  python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > ../typed\nexit 3\n')
  python.chmod(0o755)
  subprocess.run(
    ["bash", "-c", f"{command}\nwait"],
    cwd=home,
    env={"PATH": os.environ["PATH"], "HOME": str(home)},
    timeout=30,
    check=True,
  )
  assert int((home / "pid").read_text()) > 0
  lines = (home / "typed").read_text().splitlines()
  assert lines == ["-m", "entrojax.main", "--distributed", *typed]
  assert (home / "status").read_text() == "3\n"


@pytest.mark.parametrize("ended", ["130", "GONE"])
def test_a_run_that_was_interrupted_is_started_again(ended, cloud):
  done, calls = cloud(
    "slice.sh", "keep", "--config=a.py", runs=["", ended, "", "0"]
  )
  assert done.returncode == 0, done.stderr
  assert calls.count(STARTED) == 1
  assert "queued-resources create" not in calls


def test_a_slice_that_was_taken_is_asked_for_again(cloud):
  done, calls = cloud(
    "slice.sh",
    "keep",
    "--config=a.py",
    slices=["ACTIVE", "SUSPENDED", "ACTIVE"],
    runs=["", "0"],
  )
  assert done.returncode == 0, done.stderr
  order = [
    calls.index(f"queued-resources {verb}") for verb in ("delete", "create")
  ]
  order += [calls.index("scp"), calls.index(STARTED)]
  assert order == sorted(order)


def test_a_place_in_the_queue_is_kept_and_a_bare_slice_is_set_up(cloud):
  done, calls = cloud(
    "slice.sh",
    "keep",
    "--config=a.py",
    slices=["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"],
    runs=["BARE", "", "0"],
    PREPARE="sudo mount /mnt/runs",
  )
  assert done.returncode == 0, done.stderr
  assert "queued-resources delete" not in calls
  assert "queued-resources create" not in calls
  order = [calls.index(x) for x in ("scp", "sudo mount /mnt/runs", STARTED)]
  assert order == sorted(order)


NOT_THERE = "!NOT_FOUND: Resource 'mine' was not found"


def test_a_slice_that_nobody_has_asked_for_is_asked_for(cloud):
  done, calls = cloud(
    "slice.sh",
    "keep",
    "--config=a.py",
    slices=[NOT_THERE, NOT_THERE, "ACTIVE"],
    failures=["queued-resources create"],  # such as a quota that is used up
  )
  assert done.returncode == 0, done.stderr
  assert calls.count("queued-resources create") == 2
  assert calls.rindex("create") < calls.index("scp") < calls.index(STARTED)


def test_a_cloud_that_does_not_answer_leaves_the_run_alone(cloud):
  done, calls = cloud(
    "slice.sh",
    "keep",
    "--config=a.py",
    slices=["ACTIVE", "!UNAVAILABLE: try again", "ACTIVE"],
    runs=["", "0"],
  )
  assert done.returncode == 0, done.stderr
  for change in ("create", "delete", "scp", STARTED):
    assert change not in calls


@pytest.mark.parametrize("step", ["scp", "pip install", "mount /mnt/runs"])
def test_a_setup_that_fails_is_made_again_before_the_run_starts(step, cloud):
  done, calls = cloud(
    "slice.sh",
    "keep",
    "--config=a.py",
    runs=["BARE", "BARE", "0"],
    failures=[step],
    PREPARE="mount /mnt/runs",
  )
  assert done.returncode == 0, done.stderr
  assert calls.count("scp") == 2
  assert calls.count(STARTED) == 1
  assert calls.rindex("touch installed") < calls.index(STARTED)


def test_a_host_is_bare_until_all_of_its_setup_has_succeeded(cloud, tmp_path):
  _, calls = cloud("slice.sh", "state")
  look = calls.partition("--command=")[2]
  home = tmp_path / "host"
  (home / "entrojax" / ".venv").mkdir(parents=True)

  def status():
    done = subprocess.run(
      ["bash", "-c", look], cwd=home, capture_output=True, text=True
    )
    return done.stdout.strip()

  assert status() == "BARE"
  (home / "installed").touch()
  assert status() == "GONE"


def test_a_start_that_fails_is_tried_again(cloud):
  done, calls = cloud(
    "slice.sh",
    "keep",
    "--config=a.py",
    runs=["GONE", "GONE", "0"],
    failures=[STARTED],
  )
  assert done.returncode == 0, done.stderr
  assert calls.count(STARTED) == 2


def test_a_run_with_an_error_ends_with_its_status_though_the_log_is_lost(cloud):
  done, _ = cloud(
    "slice.sh", "keep", runs=["2"], failures=["tail -n 20 entrojax.log"]
  )
  assert done.returncode == 2


def test_a_run_with_an_error_ends_and_shows_its_log(cloud):
  done, calls = cloud("slice.sh", "keep", "--config=a.py", runs=["", "2"])
  assert done.returncode == 2
  assert "ended with status 2" in done.stderr
  assert "tail -n 20 entrojax.log" in calls
  assert "--distributed" not in calls


def test_without_a_verb_it_says_how_to_use_it(cloud):
  done, calls = cloud("slice.sh")
  assert done.returncode == 2
  assert "slice.sh create" in done.stdout
  assert calls == ""


def test_xpk_gets_the_command_as_it_was_typed(cloud):
  done, calls = cloud(
    "xpk.sh",
    "dapo",
    "--config.mesh=(2, -1, 1)",
    CLUSTER="c",
    PROJECT="p",
    SLICES="2",
  )
  assert done.returncode == 0, done.stderr
  assert "--workload=dapo --tpu-type=v5p-128 --num-slices=2" in calls
  assert r"entrojax.main --distributed --config.mesh=\(2\,\ -1\,\ 1\)" in calls
  assert "'jax[tpu]==" in calls
