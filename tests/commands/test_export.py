"""The export: a run's policy as a folder that another run can start from."""

import json

import jax
import numpy as np
import pytest

from entrojax import export as export_module
from entrojax.assembly.model import model_folder
from entrojax.models import decoder, hugging_face, lora
from entrojax.models.lora import Lora
from entrojax.system.checkpoint import Checkpoints
from entrojax.types import TrainState
from tests.helpers.system import SIZES, write_base
from tests.helpers.tiny_models import random_params

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path):
  """Return a run directory, its base, and the run's last parameters."""
  base = write_base(tmp_path / "base")
  workdir, params = tmp_path / "run", random_params(SIZES)
  workdir.mkdir()
  no_adapter = {"rank": 0, "alpha": 1.0, "projections": []}
  config = {"model": {"path": str(base)}, "lora": no_adapter}
  (workdir / "config.json").write_text(json.dumps(config))
  checkpoints = Checkpoints(workdir / "checkpoints", keep=2)
  for step, scale in ((3, 0.0), (7, 1.0)):
    state = TrainState(
      params=jax.tree.map(lambda x, s=scale: s * x, params),
      opt_state={"control": np.zeros(2, np.float32)},
      step=np.array(step),
    )
    checkpoints.save(step, state, jax.random.key(0), {})
  checkpoints.close()
  return workdir, base, params


def test_the_newest_policy_is_written_beside_what_the_base_had(
  run, tmp_path, capsys
):
  workdir, base, params = run
  out = tmp_path / "out"
  export_module.main([str(workdir), "--output", str(out)])
  assert f"done: {out}, after 7 rollout steps" in capsys.readouterr().out
  sizes, exported = hugging_face.load(out)
  assert sizes == SIZES
  jax.tree.map(np.testing.assert_array_equal, exported, params)
  for name in ("tokenizer.json", "config.json"):
    assert (out / name).read_bytes() == (base / name).read_bytes()
  names = {path.name for path in (workdir / "checkpoints").iterdir()}
  assert {"3", "7"} <= names


def test_the_directory_of_a_run_is_not_overwritten(run, tmp_path):
  workdir, _, _ = run
  before = (workdir / "config.json").read_bytes()
  with pytest.raises(
    ValueError, match=r"^--output .* is the directory of a ru"
  ):
    export_module.export(workdir, workdir)
  assert (workdir / "config.json").read_bytes() == before
  (tmp_path / "sweep").mkdir()
  (tmp_path / "sweep" / "sweep.json").write_text("{}")
  with pytest.raises(ValueError, match="is the directory of a sweep"):
    export_module.export(workdir, tmp_path / "sweep")


def test_an_adapter_finds_the_base_that_comes_with_the_package(tmp_path):
  """Its name, bases/countdown, is no path from the current directory."""
  workdir, out = tmp_path / "run", tmp_path / "out"
  adapter = Lora(rank=1, alpha=1.0, projections=("q_proj",))
  config = {"model": {"path": "bases/countdown"}, "lora": vars(adapter)}
  workdir.mkdir()
  (workdir / "config.json").write_text(json.dumps(config))
  sizes = hugging_face.read_config(model_folder("bases/countdown"))
  params = decoder(sizes, lora=adapter).init(jax.random.key(0))
  checkpoints = Checkpoints(workdir / "checkpoints", keep=1)
  state = TrainState(
    params=jax.tree.map(lambda x: x + 0.5, lora.split(params)[1]),
    opt_state={"control": np.zeros(2, np.float32)},
    step=np.array(1),
  )
  checkpoints.save(1, state, jax.random.key(0), {})
  checkpoints.close()
  export_module.export(workdir, out)
  (_, whole), (_, added) = map(hugging_face.load, (out, out / "adapter"))
  # the same sums, in two orders
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, 1e-5), whole, added
  )


def test_a_folder_of_another_kind_is_refused(run, tmp_path, capsys):
  _, base, _ = run
  with pytest.raises(SystemExit) as exit:
    export_module.main([str(base), "--output", str(tmp_path / "out")])
  assert exit.value.code == 2
  assert "base holds no run with checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ('{"model": ', "config.json cannot be read: Expecting value"),
    ("[]", "config.json cannot be read: it is no JSON object"),
    ('{"model": {"path": null}}', "config.json names no model folder"),
    ("{}", "config.json names no model folder"),
  ],
)
def test_a_damaged_config_is_named(content, message, run, tmp_path):
  workdir, _, _ = run
  (workdir / "config.json").write_text(content)
  with pytest.raises(ValueError, match=message):
    export_module.export(workdir, tmp_path / "out")


def test_a_base_of_other_sizes_is_refused(run, tmp_path):
  workdir, base, _ = run
  raw = json.loads((base / "config.json").read_text())
  raw["hidden_size"] = 32
  (base / "config.json").write_text(json.dumps(raw))
  with pytest.raises(ValueError, match="7 belongs to another model"):
    export_module.export(workdir, tmp_path / "out")


def test_a_run_without_a_checkpoint_is_refused(run, tmp_path):
  workdir, _, _ = run
  (workdir / "checkpoints").rename(tmp_path / "elsewhere")
  (workdir / "checkpoints").mkdir()
  with pytest.raises(ValueError, match="checkpoints holds no checkpoint"):
    export_module.export(workdir, tmp_path / "out")
