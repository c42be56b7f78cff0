"""Names, configs and commands of units, and the record of a work directory."""

import functools
import importlib
import itertools
import json
from pathlib import Path
import pickle

import jax
import pytest

import configs
from configs import default, grpo
from configs.sweeps import methods
from entrojax.sweeps.plan import (
  check_shareable,
  check_units,
  choose,
  keep,
  read_sweep,
)
from entrojax.sweeps.record import read_record
from entrojax.sweeps.units import (
  Source,
  command_of,
  name_units,
  resolve_unit,
  set_setting,
)
from tests.helpers.paths import ROOT

SOURCE = Source("base.py", grpo.get_config("test"), {})


def write_sweep(folder: Path, hyper: str, base: str = "pass") -> str:
  """Write a config file whose get_hyper returns an expression."""
  file = folder / "sweep.py"
  file.write_text(
    "from configs import grpo\n"
    "def get_config():\n"
    "  config = grpo.get_config('test')\n"
    f"  {base}\n"
    "  return config\n"
    f"def get_hyper(hyper):\n  return {hyper}\n"
  )
  return str(file)


def read(folder: Path, hyper: str, base: str = "pass", **overrides):
  """Read a sweep as the command does."""
  file = write_sweep(folder, hyper, base)
  names: dict = {}
  exec(Path(file).read_text(), names)
  config = names["get_config"]()
  for key, value in overrides.items():
    config[key] = value
  return read_sweep(file, config, overrides, folder / "runs")


# -- names --------------------------------------------------------------------


@pytest.mark.parametrize(
  ("units", "names"),
  [
    (
      [
        {"config": c, "config.seed": s}
        for c in ("a.py", "b.py")
        for s in (0, 1)
      ],
      ["a,seed=0", "a,seed=1", "b,seed=0", "b,seed=1"],
    ),
    # what does not vary is left out
    (
      [{"config.seed": 0, "config.lora.rank": r} for r in (0, 4)],
      ["rank=0", "rank=4"],
    ),
    # unless there is nothing else
    ([{"config.seed": 3}], ["seed=3"]),
    ([{}], ["base"]),
    # keys that end alike are whole
    (
      [
        {"config.erc.low": 0.5, "config.entrocraft.low": (1.0, v)}
        for v in (1, 2)
      ]
      + [{"config.erc.low": 0.9}],
      [
        "erc.low=0.5,entrocraft.low=1+1",
        "erc.low=0.5,entrocraft.low=1+2",
        "erc.low=0.9",
      ],
    ),
    # configs of one file are named by their presets
    (
      [{"config": c} for c in ("configs/x.py:a", "configs/x.py:b")],
      ["a", "b"],
    ),
    (
      [{"config": c} for c in ("x.py:a", "y.py:a", "x.py:b")],
      ["x_a", "y_a", "x_b"],
    ),
    (
      [{"config": c} for c in (grpo.get_config, functools.partial(len, "ab"))],
      ["get_config", "len_ab"],
    ),
    # the folders of a user's own functions are left out
    (
      [{"config.objective": ("ppo_clip", f)} for f in ("/x/a.py:f", "a.b:g")],
      ["objective=ppo_clip+f", "objective=ppo_clip+a.b_g"],
    ),
    # numbers are short and exact
    (
      [{"config.a": v} for v in (1e-4, 1 / 3, True, None, (), "x")],
      [
        *("a=0.0001", "a=0.3333333333333333", "a=True", "a=None", "a=empty"),
        "a=x",
      ],
    ),
  ],
)
def test_a_name_says_what_varies(units, names):
  assert name_units(units) == names


def test_a_name_is_safe_and_short_and_still_unique():
  values = ["a/b", "a b", "../x", "é", "y" * 200, "y" * 201, "-", "x", "X"]
  names = name_units([{"config.task.data_dir": value} for value in values])
  assert len(set(names)) == len(names)
  for name in names:
    assert (
      len(name) <= 80 and not set(name) & set("/ é") and name[0] not in ".-"
    )


# -- configs ------------------------------------------------------------------


def test_a_unit_has_its_config_the_command_line_s_settings_and_its_own():
  source = SOURCE._replace(overrides={"num_rollout_steps": 7, "seed": 5})
  values = {"config.seed": 3, "config": "configs/kl_cov.py:test"}
  unit = resolve_unit(source, values)
  config = unit.config
  assert config.objective == ("kl_cov",)
  assert (config.num_rollout_steps, config.seed) == (7, 3)
  assert list(unit.keys) == ["num_rollout_steps", "seed", "seed"]
  assert SOURCE.base.seed == 0


@pytest.mark.parametrize("value", [True, "auto", "layers"])
def test_a_setting_of_a_truth_value_or_a_word_can_be_swept(value):
  unit = resolve_unit(SOURCE, {"config.training.rematerialise": value})
  assert unit.config.training.rematerialise is value


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (
      {"config.optimizer.learning_rat": 1.0},
      "unknown setting 'config.optimizer.learning_rat'; did you mean "
      "'config.optimizer.learning_rate'?",
    ),
    ({"config.seed.x": 1}, "unknown setting 'config.seed.x'"),
    ({"config.optimizer": 1}, "config.optimizer is a section: set one of"),
    ({"config.seed": 1.5}, "config.seed is 1.5; expected a value of type int"),
    ({"config.seed": True}, "config.seed is True; expected a value of type"),
    ({"config": "grpo"}, "config is 'grpo'; expected a config file"),
    ({"config": "no.py"}, "there is no file no.py"),
    (
      {"config": "configs/grpo.py:x"},
      "raised ValueError: no preset or testbed 'x'",
    ),
    ({"config": lambda: 3}, "<lambda> returned 3; expected a ConfigDict"),
  ],
)
def test_a_setting_that_cannot_be_set_is_named(values, message):
  with pytest.raises(ValueError) as raised:
    resolve_unit(SOURCE, values)
  assert message in str(raised.value)


def test_a_setting_can_be_unset_in_a_sweep():
  config = default.get_config()
  set_setting(config, "ppo_clip.dual_clip", None)
  assert config.ppo_clip.dual_clip is None


def test_the_command_of_a_unit_gives_its_config():
  source = SOURCE._replace(overrides={"num_rollout_steps": 7})
  values = {"config.seed": 1, "config.objective": ("kl_cov", "erc")}
  assert command_of(source, values, Path("runs/x")) == [
    *("python", "-m", "entrojax.main", "--config=base.py"),
    *("--config.num_rollout_steps=7", "--config.seed=1"),
    *("--config.objective=('kl_cov', 'erc')", "--workdir=runs/x"),
  ]
  # None cannot be written on a command line, nor can a function
  none = {"config.ppo_clip.dual_clip": None}
  assert command_of(source, none, Path("x")) is None
  assert command_of(source, {"config": grpo.get_config}, Path("x")) is None


# -- choosing and checking ----------------------------------------------------


def test_shards_are_all_units_once():
  parts = [choose(7, shard=f"{i}/3") for i in range(3)]
  assert [*itertools.chain(*parts)] == list(range(7))
  assert {len(part) for part in parts} == {2, 3}
  assert choose(3) == [0, 1, 2] and choose(3, unit=2) == [2]


@pytest.mark.parametrize(
  ("choice", "message"),
  [
    ({"unit": 3}, r"--unit=3 must lie in \[0, 3\)"),
    ({"unit": -1}, r"--unit=-1 must lie in \[0, 3\)"),
    ({"shard": "3/3"}, "--shard=3/3 is not of the form I/N with 0 <= I < N"),
    ({"shard": "1"}, "--shard=1 is not of the form I/N"),
    ({"unit": 0, "shard": "0/1"}, "--unit and --shard exclude each other"),
  ],
)
def test_a_choice_out_of_range_is_named(choice, message):
  with pytest.raises(ValueError, match=message):
    choose(3, **choice)


def test_all_units_that_cannot_be_built_are_listed(tmp_path):
  units = [{"config.seed": 1}, {"config.sed": 2}, {"config.seed": "x"}]
  with pytest.raises(ValueError) as raised:
    read(tmp_path, repr(units))
  first, *lines = str(raised.value).splitlines()
  assert first == "2 units are refused, so nothing runs:"
  assert lines == [
    "  unit 1, config.sed = 2: unknown setting 'config.sed'; did you mean "
    "'config.seed'?",
    "  unit 2, config.seed = 'x': config.seed is 'x'; expected a value of type "
    "int",
  ]


def test_units_are_checked_as_runs_are(one_device, session_data):
  def refuse(key, value, *keys):
    config = grpo.get_config("test")
    set_setting(config, key, value)
    return config, keys

  checked = check_units(
    [
      refuse("seed", 1),
      refuse("objective", ("ppo_clp",)),
      refuse("rollout.num_prompts", 0),
      refuse("optimizer.b2", 2.0),
      refuse("model.path", "no_such_model"),
      refuse("task.name", "countdwn"),
      refuse("rollout.prompt_length", 3),
      refuse("entropic.norm", "all", "entropic.norm"),
      refuse("rollout.top_k", 5),
    ]
  )
  expected = [
    None,
    "objective: there is no 'ppo_clp' in entrojax.objectives; did you mean",
    "rollout.num_prompts must be at least 1, got 0",
    "optimizer.b2",
    "model.path: no_such_model is not a folder",
    "countdwn",
    "prompt_length",
    "entropic.norm is set and would do nothing",
    None,
  ]
  for refusal, part in zip(checked.refusals, expected, strict=True):
    assert (refusal is None) == (part is None)
    assert part is None or part in refusal
  evaluation, sampling = checked.warnings
  assert evaluation.startswith("evaluation.top_k is 0 and rollout.top_k is 5")
  assert sampling.startswith("rollout.top_k is 5")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["methods", "quick", "two_methods"])
def test_a_sweep_that_ships_can_be_read_and_says_how_it_is_run(
  name, tmp_path, monkeypatch
):
  monkeypatch.chdir(ROOT)
  module = importlib.import_module(f"configs.sweeps.{name}")
  assert f"--config=configs/sweeps/{name}.py" in module.__doc__
  assert "\nTime: " in module.__doc__
  file = f"configs/sweeps/{name}.py"
  swept = read_sweep(file, module.get_config(), {}, tmp_path / "runs")
  assert len(set(swept.names)) == len(swept.units)
  for unit in swept.units:  # as it is sent to other processes
    assert pickle.loads(pickle.dumps(unit.config)) == unit.config


def test_the_sweep_of_all_methods_has_them_all():
  offline = {"bcpg", "bcpg_nsa"}
  expected = configs.methods().keys() - offline - {"sent"}
  assert set(methods.METHODS) == expected


def test_only_processors_are_shared_by_units(monkeypatch):
  check_shareable(2)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  with pytest.raises(ValueError, match=r"--jobs=2: units share .* not a gpu"):
    check_shareable(2)


# -- the record ---------------------------------------------------------------

SEEDS = "hyper.sweep('config.seed', range({}))"
RATES = (
  "hyper.product([hyper.sweep('config.optimizer.learning_rate', [1.6e-4, 1.0]),"
  " hyper.sweep('config.seed', range(2))])"
)


def test_added_units_leave_the_old_ones_where_they_are(tmp_path):
  first = keep(read(tmp_path, SEEDS.format(2)))
  assert first.names == ["seed=0", "seed=1"]
  more = keep(read(tmp_path, SEEDS.format(3)))
  assert more.names == ["seed=0", "seed=1", "seed=2"]
  # 1.6e-4 is the base's rate, so that two of these are old
  rates = keep(read(tmp_path, RATES))
  assert rates.names == [
    *("seed=0", "seed=1"),
    *("learning_rate=1,seed=0", "learning_rate=1,seed=1"),
  ]
  record = read_record(tmp_path / "runs")
  assert list(record.units) == [
    *("seed=0", "seed=1", "seed=2"),
    *("learning_rate=1,seed=0", "learning_rate=1,seed=1"),
  ]
  assert record.units["learning_rate=1,seed=1"] == {
    "values": {"config.optimizer.learning_rate": 1.0, "config.seed": 1},
    "settings": {"optimizer.learning_rate": 1.0, "seed": 1},
  }


def test_a_changed_base_is_not_mixed_into_old_units(tmp_path):
  keep(read(tmp_path, SEEDS.format(2)))
  change = "config.optimizer.learning_rate = 1.0"
  with pytest.raises(ValueError, match=r"optimizer\.learning_rate was 0.00016"):
    read(tmp_path, SEEDS.format(3), change)
  with pytest.raises(ValueError, match="num_rollout_steps was 2, is 5"):
    read(tmp_path, SEEDS.format(3), num_rollout_steps=5)
  # neither of these changes a result
  read(tmp_path, SEEDS.format(3), "config.log.every = 9")
  read(tmp_path, SEEDS.format(3), "config.checkpoint.every = 9")


def test_a_changed_whole_config_is_not_mixed_into_old_units(tmp_path):
  other = tmp_path / "other.py"
  text = (
    "from configs import grpo\ndef get_config():\n"
    "  config = grpo.get_config('test')\n  config.erc.low = {}\n"
    "  return config\n"
  )
  other.write_text(text.format(0.5))
  hyper = f"hyper.sweep('config', [{str(other)!r}])"
  keep(read(tmp_path, hyper))
  other.write_text(text.format(0.6))
  with pytest.raises(
    ValueError, match=r"holds other with .* erc\.low was 0\.5"
  ):
    read(tmp_path, hyper)


def test_a_setting_of_the_command_line_that_would_do_nothing_is_refused(
  tmp_path,
):
  message = (
    r"2 units are refused, .*\n  unit 0, config\.seed = 0: --config\.seed is 7 "
    r"on the command line and 0 in get_hyper: set it in one of the two\n"
  )
  with pytest.raises(ValueError, match=message):
    read(tmp_path, SEEDS.format(2), seed=7)
  read(tmp_path, SEEDS.format(2), num_rollout_steps=7)


def test_a_directory_of_something_else_is_refused(tmp_path):
  keep(read(tmp_path, SEEDS.format(1)))
  (tmp_path / "b").mkdir()
  file = write_sweep(tmp_path / "b", SEEDS.format(1))
  Path(file).rename(tmp_path / "b.py")
  base = grpo.get_config("test")
  with pytest.raises(
    ValueError, match=r"holds the sweep of .*, not of .*b\.py"
  ):
    read_sweep(str(tmp_path / "b.py"), base, {}, tmp_path / "runs")
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "config.json").write_text("{}")
  with pytest.raises(ValueError, match="is the directory of a single run"):
    read_sweep(file.replace("/b/", "/"), base, {}, tmp_path / "run")


@pytest.mark.parametrize("text", ["", "[]", '{"config": "x"}', '{"units": 1}'])
def test_a_damaged_record_is_named(text, tmp_path):
  (tmp_path / "runs").mkdir()
  (tmp_path / "runs" / "sweep.json").write_text(text)
  with pytest.raises(ValueError, match=r"sweep\.json is damaged: move it away"):
    read(tmp_path, SEEDS.format(1))


@pytest.mark.parametrize(
  ("units", "message"),
  [
    # 1.6e-4 is the base's
    (
      [{"config.seed": 0}, {"config.optimizer.learning_rate": 1.6e-4}],
      "units 0 and 1 are the same run: {'config.seed': 0} and",
    ),
    (
      "[{'config': lambda i=i: grpo.get_config(('test', 'demo')[i])} "
      "for i in range(2)]",
      "units 0 and 1 have one name, _lambda_-",
    ),
  ],
)
def test_two_units_in_one_place_are_named(units, message, tmp_path):
  with pytest.raises(ValueError) as raised:
    read(tmp_path, units if isinstance(units, str) else repr(units))
  assert message in str(raised.value)


def test_a_file_without_a_sweep_is_named(tmp_path):
  with pytest.raises(
    ValueError, match=r"needs get_hyper.* as in configs/sweeps"
  ):
    read_sweep("configs/grpo.py:test", SOURCE.base, {}, tmp_path)
  json.dumps(read(tmp_path, SEEDS.format(2)).record._asdict())
