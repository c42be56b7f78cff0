"""The pages are true: links, paths, commands, flags, settings and tables exist.

Markdown pages are read as text and Python modules as syntax trees. Nothing is
imported or run but the examples and the configs.
"""

import ast
from collections.abc import Iterator
import functools
import importlib
import json
from pathlib import Path
import re
import textwrap

import numpy as np
import pytest

import configs
from configs import default, sft
from entrojax.objectives import chain, policy_loss, ppo_clip
from entrojax.objectives.aggregation import token_mean
from tests.helpers.paths import ROOT
from tests.helpers.syntax import parse

# the repository's own folders; others, such as runs/ and data/, are the user's
FOLDERS = ("colab", "configs", "entrojax", "experiments", "tests")
FILES = [*ROOT.iterdir(), *(p for f in FOLDERS for p in (ROOT / f).rglob("*"))]
FILE_NAMES = {path.name for path in FILES}
PAGES = sorted(path for path in FILES if path.suffix == ".md")
README = ROOT / "README.md"
MAX_README_LINES = 200
# a command of ours, up to what a shell reads as its end, and its words
CALL = re.compile(r"python3? -m ((?:entrojax|experiments|tests)\.[^&|;]*)")
WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")
# where a path in backticks may start, besides the page's own folder
ROOTS = (ROOT, ROOT / "entrojax")
PLACEHOLDER = re.compile(r"mine\.py|[A-Z]+\.py")  # the reader's own file
NO_SETTINGS = {"reward_model.ground_truth"}  # a column of DAPO-Math-17k


def show(path: Path) -> str:
  return str(path.relative_to(ROOT))


@functools.cache
def text(path: Path) -> str:
  return path.read_text(encoding="utf-8")


@functools.cache
def without_code(path: Path) -> str:
  """Return a page without fenced and indented blocks."""
  prose = re.sub(r"^( *)```.*?^\1```", "", text(path), flags=re.M | re.DOTALL)
  return re.sub(r"^ {4,}.*$", "", prose, flags=re.M)


@functools.cache
def anchors(page: Path) -> set[str]:
  """Return the anchors of a page's headings, as GitHub derives them."""
  headings = re.findall(r"^#+ +(.+?) *$", without_code(page), re.M)
  return {
    re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(
      " ", "-"
    )
    for heading in headings
  }


def links(page: Path) -> Iterator[str]:
  for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
    if not re.match(r"[a-z]+:", target):
      yield target


def commands(page: Path) -> Iterator[list[str]]:
  """Yield the words of every command of ours, in blocks and in backticks."""
  source = text(page)
  if page.suffix == ".ipynb":
    indents = {"code": "    ", "markdown": ""}
    source = "\n".join(
      indents[cell["cell_type"]] + line.rstrip("\n")
      for cell in json.loads(source)["cells"]
      for line in cell["source"]
    )
  source = re.sub(r"\\\n\s*", "", source)
  lines = re.findall(r"^ {4}.*$", source, re.M)
  lines += re.findall(
    r"`([^`\n]+)`", re.sub(r"^ {4}.*$", "", source, flags=re.M)
  )
  for line in lines:
    if call := CALL.search(line):
      # brackets around a flag mean that it is optional
      yield WORD.findall(re.sub(r"\[(--[^]]*)\]", r"\1", call[1]))


@functools.cache
def module_path(name: str) -> Path:
  path = ROOT.joinpath(*name.split("."))
  return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def defined_flags(module: str, function: str = "") -> frozenset[str]:
  """Return the flags that a module defines, or that its imports define for it.

  The second kind are flags such as --coordinator, which a function of another
  module defines: every function whose name begins with define_.

  Args:
    module: its dotted name.
    function: count only the flags that this function of it defines.
  """
  tree: ast.AST = parse(module_path(module))
  if function:
    (tree,) = (
      node for node in tree.body if getattr(node, "name", "") == function
    )
  names, imported = set(), {}
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom):
      imported |= {alias.name: node.module for alias in node.names}
  for node in ast.walk(tree):
    if not isinstance(node, ast.Call):
      continue
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name.startswith("DEFINE_"):
      names.add(node.args[0].value)
      if name == "DEFINE_bool":
        names.add(f"no{node.args[0].value}")
    elif name == "add_argument":
      names |= {a.value.lstrip("-") for a in node.args}
    elif name.startswith("define_") and name in imported:
      names |= defined_flags(imported[name], name)
  return frozenset(names)


@functools.cache
def settings(module: str = "") -> frozenset[str]:
  """Return the settings of a command's config, of both kinds by default."""
  if not module:
    return settings("entrojax.main") | settings("entrojax.sft")
  keys: set[str] = set()

  def walk(section, prefix):
    for name, value in section.items():
      keys.add(prefix + name)
      if hasattr(value, "items"):
        walk(value, f"{prefix}{name}.")

  walk((sft if module == "entrojax.sft" else default).get_config(), "")
  return frozenset(keys)


def check_config(value: str) -> str | None:
  """Return what is wrong with the value of --config, None if nothing is."""
  path, _, preset = value.partition(":")
  if not path.endswith(".py") or not (ROOT / path).is_file():
    return None if path in ("...", "FILE") else f"there is no config {path}"
  module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
  try:
    module.get_config(*[preset] * bool(preset))
  except ValueError as error:
    return f"{path}: {error}"
  return None


@pytest.mark.parametrize("page", PAGES, ids=show)
def test_every_link_leads_somewhere(page):
  for target in links(page):
    path, _, anchor = target.partition("#")
    linked = (page.parent / path).resolve() if path else page
    assert linked.exists(), f"{show(page)}: {target}"
    if anchor and linked.suffix == ".md":
      assert anchor in anchors(linked), f"{show(page)}: no heading {target}"


@pytest.mark.parametrize("page", PAGES, ids=show)
def test_every_path_in_backticks_exists(page):
  for quoted in re.findall(r"`([\w.-]*/?[\w./-]+)`", without_code(page)):
    first, _, rest = quoted.partition("/")
    name = quoted.rpartition("/")[2]
    is_path = (rest and first in FOLDERS) or re.search(
      r"\.(py|md|ipynb|sh)$", name
    )
    if not is_path or PLACEHOLDER.fullmatch(name):
      continue
    if not rest:  # a file's name alone
      assert name in FILE_NAMES, f"{show(page)}: {name}"
      continue
    places = [root / quoted for root in (page.parent, *ROOTS)]
    assert any(place.exists() for place in places), f"{show(page)}: {quoted}"


@pytest.mark.parametrize(
  "page", [*PAGES, *(ROOT / "colab").glob("*.ipynb")], ids=show
)
def test_every_command_names_a_module_its_flags_and_its_settings(page):
  for module, *arguments in commands(page):
    where = f"{show(page)}: {module}"
    if "X" in module:  # a placeholder, as in `python -m entrojax.X`
      continue
    assert module_path(module).is_file(), where
    for argument in arguments:
      if not argument.startswith("--"):
        continue
      name, _, value = argument[2:].partition("=")
      if name.startswith("config."):
        setting = name.removeprefix("config.")
        assert setting in settings(module), f"{where} --{name}"
      elif name not in ("help", "helpfull"):
        assert name in defined_flags(module), f"{where} --{name}"
      if name == "config":
        assert check_config(value) is None, f"{where}: {check_config(value)}"


@pytest.mark.parametrize("page", PAGES, ids=show)
def test_every_setting_exists(page):
  sections = {key.partition(".")[0] for key in settings() if "." in key}
  for name in re.findall(r"--config\.([\w.]+)", text(page)):
    assert name in settings(), f"{show(page)}: --config.{name}"
  for name in re.findall(r"`(?:config\.)?(\w+\.\w+)[`=]", without_code(page)):
    section, _, leaf = name.partition(".")
    is_file = leaf in ("py", "json")
    if section in sections and not is_file and name not in NO_SETTINGS:
      assert name in settings(), f"{show(page)}: {name}"


def test_every_make_target_exists():
  makefile = text(ROOT / "Makefile")
  for page in PAGES:
    for target in re.findall(r"^ {4}make ([\w-]+)", text(page), re.M):
      assert f"\n{target}:" in makefile, f"{show(page)}: make {target}"


def test_every_config_has_its_row():
  page = text(ROOT / "configs" / "README.md")
  file = r"((?:sweeps/)?\w+\.py)"
  rows = re.findall(rf"^\| \[`{file}`\]\({file}\) \|", page, re.M)
  assert all(name == target for name, target in rows)
  files = {
    str(path.relative_to(ROOT / "configs"))
    for path in (ROOT / "configs").rglob("*.py")
    if path.name != "__init__.py"
  }
  assert sorted(name for name, _ in rows) == sorted(files)


def test_every_testbed_s_row_has_its_presets():
  page = text(ROOT / "configs" / "README.md")
  rows = dict(
    re.findall(r"^\| \[`(\w+)`\]\(\w+\.py\) \|.*\| (.*) \|$", page, re.M)
  )
  testbeds = configs.testbeds()
  assert rows.keys() == testbeds.keys()
  for name, testbed in testbeds.items():
    assert re.findall(r"`(\w+)`", rows[name]) == [*testbed.presets], name


def test_every_experiment_has_its_row():
  page = text(ROOT / "experiments" / "README.md")
  for path in sorted((ROOT / "experiments").glob("*.py")):
    if '__name__ == "__main__"' in text(path):
      assert f"| `python -m experiments.{path.stem}" in page, path.stem


def test_the_readme_is_short():
  assert len(text(README).splitlines()) <= MAX_README_LINES


@pytest.mark.slow
def test_the_example_of_the_readme_runs():
  (code,) = re.findall(r"```python\n(.*?)```", text(README), re.DOTALL)
  names: dict = {}
  exec(compile(code, "README.md", "exec"), names)
  assert names["gradient"].shape == (2, 3, 7)


def test_the_template_of_a_method_is_an_objective(random_tokens):
  page = textwrap.dedent(text(ROOT / "CONTRIBUTING.md").partition("1. **")[2])
  (code,) = re.findall(r" *```python\n(.*?) *```", page, re.DOTALL)
  names: dict = {}
  exec(compile(textwrap.dedent(code), "CONTRIBUTING.md", "exec"), names)
  tokens = random_tokens(0, 5, 7)
  _, metrics = policy_loss(
    chain(ppo_clip(), names["mine"](min_entropy=0.5)), token_mean, tokens
  )
  low = (np.asarray(tokens.entropy) < 0.5) * np.asarray(tokens.mask)
  assert metrics["mine/touched"].total == np.nansum(low)


def numbers_in(path: Path, pattern: str) -> list[int]:
  """Return a page's numbers where a pattern has N, read as one line."""
  line = " ".join(text(path).split())
  match = re.search(pattern.replace("N", r"(\d+)"), line)
  assert match, f"{show(path)} has no text like {pattern!r}"
  return [int(number) for number in match.groups()]


def test_the_readme_repeats_the_counts_of_verdicts():
  page = ROOT / "experiments" / "claims" / "README.md"
  total, *counts, papers = numbers_in(
    page,
    r"N claims: N held, N not held here, N inconclusive[^.]*\. N are of papers",
  )
  assert numbers_in(
    README, r"\[N claims, N of papers\]\(\S+\): N held, N did not, and N are"
  ) == [total, papers, *counts]


def test_the_readme_repeats_the_counts_at_equal_entropy():
  page = ROOT / "experiments" / "tournament" / "README.md"
  above, total, below, undecided, near = numbers_in(
    page,
    r"One curve or many\?\*\* At equal entropy, N of N entries lies? above "
    r"[^,]* curve in pass@1, N below, and N (?:is|are) undecided; of these, N "
    r"(?:is|are) seen to be within 0\.02",
  )
  assert numbers_in(
    README,
    "Of N entries in its range, N have more pass@1 at equal entropy, N less, N "
    "are within 0.02, and N are undecided",
  ) == [total, above, below, near, undecided - near]
