"""Show where the entropy of a run's responses is, token by token.

    python -m entrojax.tokens runs/mine --output tokens.html
    python -m entrojax.tokens runs/grpo runs/entropic --by=log_ratio

The runs must have kept tokens (evaluation.token_samples). The command prints
the tokens that carry the most entropy at the start and at the end of each run,
how many positions of high entropy it shares with the base, and the responses to
one prompt, coloured by one quantity. With --output it also writes
a page with the pictures and all kept prompts that fit, where the reader picks
the quantity. Control characters of a response are spelled out.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from entrojax.reporting.find_runs import find_runs
from entrojax.reporting.formatting import align
from entrojax.reporting.report_page import tokens_page
from entrojax.reporting.run_logs import read_run
from entrojax.reporting.token_sections import fork_lines, share_lines
from entrojax.reporting.token_terminal import QUANTITIES, print_responses
from entrojax.reporting.variants import Variant, group_runs
from entrojax.system.command_line import command
from entrojax.system.workdir import hold_file

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
  "output", "", "the HTML file to write; without it none", flag_values=FLAGS
)
_BY = flags.DEFINE_enum(
  "by",
  "entropy",
  list(QUANTITIES),
  "what colours the printed tokens",
  flag_values=FLAGS,
)
_PROMPT = flags.DEFINE_integer(
  "prompt",
  0,
  "the kept prompt whose responses are printed, from 0",
  lower_bound=0,
  flag_values=FLAGS,
)


def kept_sets(variants: Sequence[Variant]) -> list[str]:
  """List the evaluation sets whose tokens any run has kept, in order.

  Raises:
    ValueError: no run has kept tokens of two evaluations.
  """
  data = [
    first.data
    for variant in variants
    for run in variant.runs
    for first, _ in run.tokens
  ]
  if not data:
    names = ", ".join(variant.name for variant in variants)
    raise ValueError(
      f"no tokens of two evaluations in {names}: a run keeps them with "
      "--config.evaluation.token_samples=1 or more"
    )
  return list(dict.fromkeys(data))


@command(
  FLAGS,
  arguments={
    "RUN...": "one or more run directories, or folders that contain them"
  },
)
def main(*folders: str) -> None:
  """Print the tables and one prompt's responses, and write the page."""
  runs = find_runs(folders)
  variants = group_runs([read_run(name, path) for name, path in runs.items()])
  data = kept_sets(variants)
  for name in data:
    for variant in variants:
      head, lines = fork_lines([variant], name)
      print(f"{name}: tokens that carry the most entropy, {variant.name}")
      print(
        align(head[2:], [[word, *rest] for word, _, *rest in lines]), end="\n\n"
      )
    head, lines = share_lines(variants, name)
    print(f"{name}: tokens of the first and of the last evaluation")
    print(align(head[1:], lines), end="\n\n")
  print_responses(variants, data[0], prompt=_PROMPT.value, by=_BY.value)
  if _OUTPUT.value:
    page = tokens_page(variants, data, title="Tokens")
    path = Path(_OUTPUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold_file(path):
      path.write_text(page, encoding="utf-8", errors="replace")
    print(f"\npage: {path}")


if __name__ == "__main__":
  main()
