"""Show one or more runs on one HTML page of tables and pictures.

    python -m entrojax.report runs/grpo runs/entropic --output report.html
    python -m entrojax.report runs/methods --output report.html

A folder that is not a run directory stands for all run directories below it,
such as the units of a sweep. Runs that differ only by their seed are one line
with a band, and the others are compared with a baseline. Runs that cannot be
read are left out and named. The page is a single file without links to other
files. It contains no date: the same command on the same runs writes the same
bytes. The command also prints the page's summary.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import html
import json
from pathlib import Path
import shlex
import sys
from typing import NamedTuple

from absl import flags
import numpy as np

from entrojax.reporting.differences import find_baseline
from entrojax.reporting.find_runs import find_runs
from entrojax.reporting.formatting import listing
from entrojax.reporting.report_page import report_page
from entrojax.reporting.run_logs import (
  RunLog,
  read_run,
  series,
)
from entrojax.reporting.summary import (
  SummaryRows,
  format_table,
  summarize_variant,
)
from entrojax.reporting.variants import (
  Variant,
  differing_settings,
  group_runs,
)
from entrojax.system.command_line import command
from entrojax.system.roll_backs import read_roll_backs
from entrojax.system.workdir import hold_file

_TITLE_DEFAULT = "Entropy report"
_BASELINE_DEFAULT = "grpo"
_ENTROPIES_DIFFER = 0.02  # relative; a larger one is noted

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
  "output", "", "the HTML file to write", flag_values=FLAGS
)
_TITLE = flags.DEFINE_string(
  "title", _TITLE_DEFAULT, "the title of the page", flag_values=FLAGS
)
_BASELINE = flags.DEFINE_string(
  "baseline",
  _BASELINE_DEFAULT,
  "the variant that the others are compared with: its name, or a word that "
  "only its name has; with several tasks, one variant of each task",
  flag_values=FLAGS,
)


class Report(NamedTuple):
  """What a written page says in short."""

  rows: SummaryRows  # the summary of each variant by name, for `format_table`
  left_out: Mapping[str, str]  # run -> why it could not be read


def write_report(
  runs: Mapping[str, Path | str],
  path: Path | str,
  *,
  title: str = _TITLE_DEFAULT,
  baseline: str = _BASELINE_DEFAULT,
  own_command: str | None = None,
) -> Report:
  """Write the page.

  Args:
    runs: name -> run directory with metrics.jsonl and config.json, in the
      order in which the page shows them.
    path: the HTML file to write.
    title: the title of the page.
    baseline: the variant that the others are compared with: its name, or a word
      that only its name has.
    own_command: the command that writes the page; None: the one that names all
      runs.

  Returns:
    The summaries, and the runs that were left out because they cannot be read.

  Raises:
    FileNotFoundError: no run can be read, and the first has no metrics.jsonl.
    HeldError: another process writes the file.
    ValueError: no run can be read, there are no runs, or no variant has the
      chosen baseline's name.
  """
  page, report = _make_page(
    runs,
    title=title,
    baseline=baseline,
    own_command=own_command
    or _own_command(runs.values(), path, title, baseline),
  )
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with hold_file(path):
    path.write_text(page, encoding="utf-8", errors="replace")
  return report


class InlineReport(NamedTuple):
  """A report that a notebook shows below its cell, in a frame of its own."""

  page: str  # HTML
  height: int  # of the frame, pixels

  def _repr_html_(self) -> str:
    """Return the frame; a notebook calls this."""
    return (
      f'<iframe srcdoc="{html.escape(self.page)}" width="100%" '
      f'height="{self.height}" style="border: 0"></iframe>'
    )

  def __repr__(self) -> str:
    return f"report, {len(self.page) / 1e6:.1f} MB of HTML"


def show_report(
  *runs: Path | str, baseline: str = _BASELINE_DEFAULT, height: int = 800
) -> InlineReport:
  """Build the report of runs for a notebook.

  Args:
    *runs: run directories, or folders with run directories below them.
    baseline: the variant that the others are compared with.
    height: of the frame that shows the page, pixels.

  Raises:
    FileNotFoundError, ValueError: as in `write_report`.
  """
  paths = find_runs([str(run) for run in runs])
  page, _ = _make_page(
    paths,
    title=_TITLE_DEFAULT,
    baseline=baseline,
    own_command=_own_command(
      paths.values(), "report.html", _TITLE_DEFAULT, baseline
    ),
  )
  return InlineReport(page, height)


def _make_page(
  runs: Mapping[str, Path | str],
  *,
  title: str,
  baseline: str,
  own_command: str,
) -> tuple[str, Report]:
  """Build the page; see `write_report`."""
  if not runs:
    raise ValueError("a report needs at least one run")
  read, left_out = _read_runs(runs)
  variants = group_runs(read)
  names = [variant.name for variant in variants]
  chosen = baseline != _BASELINE_DEFAULT
  if chosen and not any(find_baseline([n], baseline) == 0 for n in names):
    raise ValueError(
      f"--baseline={baseline}: there is no such variant; there are "
      f"{', '.join(names)}"
    )
  rows = {variant.name: summarize_variant(variant) for variant in variants}
  page = report_page(
    variants,
    rows,
    title=title,
    baseline=baseline,
    command=own_command,
    notes=[*_left_out_notes(left_out), *_notes(variants)],
  )
  return page, Report(rows, left_out)


def _read_runs(
  runs: Mapping[str, Path | str],
) -> tuple[list[RunLog], dict[str, str]]:
  """Read the runs; also return why the others cannot be read, by name.

  Raises the first error if no run can be read.
  """
  read, errors = [], {}
  for name, folder in runs.items():
    try:
      run = read_run(name, folder)
      read_roll_backs(run.path)  # which the notes name
      read.append(run)
    except (OSError, ValueError) as error:
      errors[name] = error
  if not read:
    raise next(iter(errors.values()))
  return read, {name: str(error) for name, error in errors.items()}


def _left_out_notes(left_out: Mapping[str, str]) -> list[str]:
  return [f"Left out: {name}: {why}." for name, why in left_out.items()]


def _notes(variants: Sequence[Variant]) -> list[str]:
  """Return what a reader must know about the runs."""
  return [
    note
    for find in (
      *(_same_seeds, _different_tasks, _unfinished, _alarms, _roll_backs),
      _selected_entropies,
    )
    for note in find(variants)
  ]


def _same_seeds(variants: Sequence[Variant]) -> Iterator[str]:
  settings = differing_settings(variants)
  places: dict[str, list[str]] = {}
  for index, variant in enumerate(variants):
    if variant.runs[0].config:
      own = [values[index] for values in settings.values()]
      places.setdefault(json.dumps(own), []).append(variant.name)
  for names in places.values():
    if len(names) > 1:
      yield (
        f"{listing(names)} have the same settings and share seeds, so they are "
        "shown as different variants."
      )


def _different_tasks(variants: Sequence[Variant]) -> Iterator[str]:
  by_task: dict[str, list[str]] = {}
  for variant in variants:
    by_task.setdefault(variant.task or "unknown", []).append(variant.name)
  if len(by_task) > 1:
    tasks = "; ".join(f"{task}: {listing(v)}" for task, v in by_task.items())
    yield (
      f"The runs have different tasks ({tasks}). Rewards, lengths and "
      "entropies of different tasks cannot be compared. pass@k is shown for "
      "each data set by itself, and the summary and the differences for each "
      "task."
    )


def _unfinished(variants: Sequence[Variant]) -> Iterator[str]:
  runs = [
    f"{run.name} (rollout step {last} of {total})"
    for variant in variants
    for run in variant.runs
    if (total := run.config.get("num_rollout_steps"))
    and (last := run.rows[-1].get("rollout_step", total)) < total
  ]
  if runs:
    yield (
      f"Not finished: {listing(runs)}. Their last values are from an earlier "
      "step than those of the other runs."
    )


def _alarms(variants: Sequence[Variant]) -> Iterator[str]:
  prefix = "alarms/"
  for run in (run for variant in variants for run in variant.runs):
    steps = {
      name.removeprefix(prefix): series(run, name)[0].tolist()
      for name in sorted(run.metrics)
      if name.startswith(prefix)
    }
    if steps:
      alarms = [
        f"{name} (optimizer steps {at[0]:,} to {at[-1]:,})"
        for name, at in steps.items()
      ]
      yield f"Alarms of {run.name}: {listing(alarms)}."


def _roll_backs(variants: Sequence[Variant]) -> Iterator[str]:
  """Say which alarms took a run back, and what changed."""
  for run in (run for variant in variants for run in variant.runs):
    for back in read_roll_backs(run.path):
      yield (
        f"The alarm {back.alarm} took {run.name} back from rollout step "
        f"{back.at} to {back.to}, with {back.setting} = {back.value!r} from "
        "there on."
      )


def _selected_entropies(variants: Sequence[Variant]) -> Iterator[str]:
  """Say where the entropy of the trained groups is not the policy's own."""
  for run in (run for variant in variants for run in variant.runs):
    pairs = [
      (row["rollout/entropy"], row["actor/entropy"])
      for row in run.rows
      if {"rollout/entropy", "actor/entropy"} <= row.keys()
    ]
    if not pairs:
      continue
    own, trained = np.mean(pairs, axis=0)
    if abs(trained - own) > _ENTROPIES_DIFFER * own:
      yield (
        f"The policy of {run.name} has a mean entropy of {own:.3g} over "
        f"everything it sampled (rollout/entropy), and {trained:.3g} over the "
        "groups that it was trained on (actor/entropy)."
      )


def _own_command(
  folders: Iterable[Path | str],
  path: Path | str,
  title: str,
  baseline: str,
) -> str:
  """Return the command that writes this page."""
  words = [*(_shown_path(folder) for folder in folders), "--output"]
  words += [_shown_path(path), "--title", title]
  if baseline != _BASELINE_DEFAULT:
    words += ["--baseline", baseline]
  return shlex.join(["python", "-m", "entrojax.report", *words])


def _shown_path(path: Path | str) -> str:
  """Return a path, relative to the working directory if it lies below it."""
  path, here = Path(path), Path.cwd()
  return str(path.relative_to(here) if path.is_relative_to(here) else path)


@command(
  FLAGS,
  arguments={
    "RUN...": "one or more run directories, or folders that contain them"
  },
  required=("output",),
)
def main(*folders: str) -> None:
  """Write the page and print its summary."""
  output, title, baseline = _OUTPUT.value, _TITLE.value, _BASELINE.value
  report = write_report(
    find_runs(folders),
    output,
    title=title,
    baseline=baseline,
    own_command=_own_command(folders, output, title, baseline),
  )
  print(format_table(report.rows))
  for name, why in report.left_out.items():
    print(f"left out: {name}: {why}", file=sys.stderr)
  print(f"\nreport: {output}")


if __name__ == "__main__":
  main()
