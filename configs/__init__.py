"""Combine methods and testbeds: any method works with any task.

A file of this folder is one of three things:

    a method, with a METHOD       clip_cov.py: what it sets, and what it claims
    a testbed, with a TESTBED     gsm8k.py: a task, a model and sizes that fit
    anything else                 default.py, sft.py, ...: a whole config

`combine` returns the settings of a method on a testbed:

    combine("clip_cov", "gsm8k", "sample")

The command line says the same with words after a colon, in any order, as in
`--config=configs/gsm8k.py:clip_cov,sample`, or, from the method's side, as in
`--config=configs/clip_cov.py:gsm8k,sample`. A method's file without a testbed
uses the method's own, which is Countdown for all methods but the offline ones.

The numbers of a method are its paper's. Where a testbed needs others, the
method has them under the testbed's name, and says in `origins` where they come
from: a guess, scaled from the paper's, or measured. A testbed lists in
`numbers` whose it takes. Countdown's are for mini-batches of some 700 tokens
and a base with an entropy of 0.51 nats.

Some settings follow others unless they are set: a learning rate decays until
the run's end, also after `--config.num_rollout_steps=100`. Such a setting is a
reference of ml_collections, such as `run_length` returns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import difflib
import functools
import importlib
from pathlib import Path
import re
from types import MappingProxyType
from typing import Any, NamedTuple

from ml_collections import ConfigDict as Config
from ml_collections import FieldReference

# sections with their settings; or a function that computes them from the
# settings so far, which may use references to them
Settings = Mapping[str, Any] | Callable[[Config], Mapping[str, Any]]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


# kinds of methods, in the order of tables
FAMILIES = (
  "rewards and advantages",
  "surrogates",
  "choice and weight of tokens",
  "entropy bonuses and targets",
  "distance to the base",
  "recipes and offline",
)


class Method(NamedTuple):
  """What a method sets, and what its paper claims of it.

  Attributes:
    title: its name in tables.
    family: what kind of method it is, one of FAMILIES.
    equation: what it computes, in one line of a table.
    files: where the equation is, in the folder entrojax.
    paper: its number on arXiv; or a word, such as "ours".
    statistics: the other tokens that the loss of a token depends on: none, or
      those in the sequence, group, mini-batch or rollout batch.
    claim: what the paper says of the entropy, against GRPO.
    measured: what experiments.directions measured, in millinats per token.
    settings: what it sets on every testbed; the numbers are the paper's.
    on: its own numbers on a testbed, by the testbed's name.
    origins: where these numbers come from, in sentences that begin with Guess,
      Scaled, Measured or As, and what the kept runs of the tournament say.
    testbed: the testbed of its file.
    variants: functions of its paper that can take the place of one it names.
    direction: of the entropy by its claim, against GRPO: 1 = higher, -1 =
      lower, 0 = no claim that a few updates could test.
    overrides: 'section.leaf' -> value, which makes the claim visible in a few
      updates.
    why: the reason for the overrides, or for a direction of 0.
  """

  title: str
  family: str
  equation: str
  files: tuple[str, ...]
  paper: str
  statistics: str
  claim: str
  measured: str
  settings: Settings = _NOTHING
  on: Mapping[str, Settings] = _NOTHING
  origins: Mapping[str, str] = _NOTHING
  testbed: str = "countdown"
  variants: tuple[str, ...] = ()
  direction: int = 0
  overrides: Mapping[str, Any] = _NOTHING
  why: str = ""

  def get_config(self, words: str = "") -> Config:
    """Return the settings that the words after a colon choose.

    Args:
      words: separated by commas: at most one testbed, and its presets.

    Raises:
      ValueError: a word is unknown; the message suggests the nearest one.
    """
    chosen, presets = _split(words, testbeds())
    testbed = load_testbed(chosen or self.testbed)
    _check_presets(presets, testbed, "testbed", testbeds())
    return _combine(self, testbed, presets)


class Testbed(NamedTuple):
  """A task, a model and sizes that fit.

  Attributes:
    settings: what differs from configs/default.py.
    presets: what differs from the settings, by the name of the preset.
    numbers: names of testbeds whose own numbers a method uses here, in order.
  """

  settings: Settings
  presets: Mapping[str, Mapping[str, Any]] = _NOTHING
  numbers: tuple[str, ...] = ()

  def get_config(self, words: str = "") -> Config:
    """Return the settings that the words after a colon choose.

    Args:
      words: separated by commas: at most one method, otherwise plain GRPO, and
        presets.

    Raises:
      ValueError: a word is unknown; the message suggests the nearest one.
    """
    chosen, presets = _split(words, methods())
    _check_presets(presets, self, "method", methods())
    method = load_method(chosen) if chosen else None
    return _combine(method, self, presets)


def combine(method: str, testbed: str, *presets: str) -> Config:
  """Return the settings of a method on a testbed.

  Args:
    method: the name of a method's file, such as "clip_cov".
    testbed: the name of a testbed's file, such as "gsm8k".
    *presets: presets of the testbed, such as "sample".

  Raises:
    ValueError: a name is unknown; the message suggests the nearest one.
  """
  place = load_testbed(testbed)
  _check_presets(presets, place, "", ())
  return _combine(load_method(method), place, presets)


def run_length(config: Config) -> FieldReference:
  """Refer to the number of optimizer steps of a run, whatever it will be."""
  steps = config.get_ref("num_rollout_steps")
  return steps * config.training.get_ref("updates_per_rollout")


def num_rollout_steps(config: Config) -> FieldReference:
  """Refer to the number of rollout steps of a run, whatever it will be."""
  return config.get_oneway_ref("num_rollout_steps")


def response_length(config: Config) -> FieldReference:
  """Refer to the maximum length of a response, whatever it will be."""
  return config.rollout.get_oneway_ref("response_length")


def per_rollout_step(config: Config, change: float) -> FieldReference:
  """Refer to the change of each optimizer step that adds up to `change`.

  Papers move a controller once per rollout batch, where entrojax moves it at
  each optimizer step.
  """
  updates = config.training.get_ref("updates_per_rollout")
  return change / updates.to_float()


@functools.cache
def methods() -> Mapping[str, Method]:
  """Return all methods by the names of their files."""
  return _records("METHOD")


@functools.cache
def testbeds() -> Mapping[str, Testbed]:
  """Return all testbeds by the names of their files."""
  return _records("TESTBED")


def load_method(name: str) -> Method:
  """Return a method; raise ValueError if its name is unknown."""
  return _known(name, methods(), "method")


def load_testbed(name: str) -> Testbed:
  """Return a testbed; raise ValueError if its name is unknown."""
  return _known(name, testbeds(), "testbed")


def _combine(
  method: Method | None, testbed: Testbed, presets: Iterable[str]
) -> Config:
  """Apply a testbed, its presets and then a method to the default settings."""
  default = importlib.import_module("configs.default")
  config = default.get_config()
  layers = [testbed.settings, *(testbed.presets[name] for name in presets)]
  if method is not None:
    own = (method.on.get(name, _NOTHING) for name in testbed.numbers)
    layers += [method.settings, *own]
  for settings in layers:
    _update(config, settings(config) if callable(settings) else settings)
  return config


def _update(config: Config, settings: Mapping[str, Any]) -> None:
  """Set the settings of a config and its sections; values may be references."""
  for key, value in settings.items():
    if isinstance(config.get(key), Config) and isinstance(value, Mapping):
      _update(config[key], value)
    else:
      config[key] = value


def _records(attribute: str) -> dict[str, Any]:
  """Return an attribute of all files of this folder that have it."""
  pattern = re.compile(rf"^{attribute} = ", re.M)
  return {
    path.stem: getattr(
      importlib.import_module(f"configs.{path.stem}"), attribute
    )
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem != "__init__" and pattern.search(path.read_text())
  }


def _split(
  words: str, names: Iterable[str]
) -> tuple[str | None, Sequence[str]]:
  """Return the word that is one of the names, if any, and the other words."""
  given = [word.strip() for word in words.split(",") if word.strip()]
  chosen = [word for word in given if word in names]
  if len(chosen) > 1:
    raise ValueError(f"{' and '.join(chosen)} exclude each other: choose one")
  others = [word for word in given if word not in chosen]
  return (chosen[0] if chosen else None), others


def _check_presets(
  presets: Iterable[str],
  testbed: Testbed,
  kind: str,
  names: Iterable[str],
) -> None:
  """Raise ValueError for a word that is no preset of a testbed.

  Args:
    presets: the words.
    testbed: the testbed.
    kind: what a word may name instead, "method" or "testbed"; "": nothing.
    names: the names of that kind.
  """
  for word in presets:
    if word not in testbed.presets:
      what = f"preset or {kind}" if kind else "preset"
      others = f"the presets are {', '.join(testbed.presets)}"
      raise ValueError(_unknown(word, (*testbed.presets, *names), what, others))


def _known(name: str, records: Mapping[str, Any], kind: str) -> Any:
  """Return a record; raise ValueError if its name is unknown."""
  if name not in records:
    raise ValueError(_unknown(name, records, kind, "see configs/README.md"))
  return records[name]


def _unknown(name: str, choices: Iterable[str], kind: str, hint: str) -> str:
  """Return the message about an unknown name, with the nearest choice."""
  near = difflib.get_close_matches(name, list(choices), n=1)
  return f"no {kind} {name!r}; {f'did you mean {near[0]!r}?' if near else hint}"
