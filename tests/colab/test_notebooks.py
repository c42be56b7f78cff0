"""The notebooks run from two folders, with tiny settings, and say what they do.

Their cells run in this process (tests/helpers/notebooks.py), so that runs share
compiled graphs.
"""

import json
import os
from pathlib import Path
import re
import runpy
import subprocess
import sys

import jax
import pytest

from configs import colab
from entrojax.data import templates, tokenizer
from entrojax.models import decoder, hugging_face
from experiments import memory, rehearse
from experiments.chips import CHIPS
from experiments.model_sizes import SIZES as SIZES_OF_MODELS
from tests.helpers import notebooks
from tests.helpers.paths import GOLDENS, ROOT
from tests.helpers.system import SIZES

pytestmark = pytest.mark.slow

COLAB = ROOT / "colab"
NOTEBOOKS = sorted(path.stem for path in COLAB.glob("*.ipynb"))
PNG = b"\x89PNG"
GSM8K = GOLDENS / "gsm8k_sample.jsonl"


@pytest.fixture
def run(monkeypatch, one_device, session_data):
  """Return run(name, folder, **parameters), which leaves no trace here."""
  monkeypatch.setattr(sys, "path", list(sys.path))
  monkeypatch.setattr(sys, "argv", ["notebook"])
  monkeypatch.setattr(os, "environ", os.environ.copy())

  def run(name, folder, **parameters):
    monkeypatch.chdir(folder)
    return notebooks.run_notebook(COLAB / f"{name}.ipynb", **parameters)

  return run


# -- they run ------------------------------------------------------------------


def test_collapse_and_rescue_draws_both_runs(run, tmp_path, capsys):
  pictures = run(
    "collapse_and_rescue",
    COLAB,
    STEPS=2,
    PROMPTS=16,
    SAMPLES=2,
    RUNS=str(tmp_path / "runs"),
  )
  *_, entropy, pass_at_k, table = pictures
  assert entropy.startswith(PNG) and pass_at_k.startswith(PNG)
  assert re.search(r"grpo +entropic|entropic +grpo", table)
  printed = capsys.readouterr().out
  assert "rollout 2/2" in printed
  assert "\r" not in printed and "\x1b" not in printed


def test_one_batch_shows_where_each_method_pushes(run):
  *pictures, table = run(
    "one_batch", ROOT, PROMPTS=2, METHODS=["grpo", "entropy_bonus", "sent"]
  )
  assert len(pictures) == 3
  assert all(picture.startswith(PNG) for picture in pictures)
  _head, grpo, bonus, _, left_out, sent = table.splitlines()
  assert grpo.startswith("grpo ") and grpo.endswith(" -")
  assert float(bonus.split()[-1]) > 0  # the bonus pushes the entropy up
  assert left_out.startswith("left out") and "sent: " in sent


def write_model(folder: Path) -> Path:
  """Write a tiny model whose tokens are the characters of GSM8K's sample."""
  folder.mkdir()
  text = GSM8K.read_text(encoding="utf-8") + templates.boxed("")
  characters = sorted(set(text))
  words = tokenizer.character_tokenizer(characters)
  words.save(str(folder / "tokenizer.json"))
  sizes = SIZES.__class__(**{**vars(SIZES), "vocab_size": 3 + len(characters)})
  params = decoder(sizes).init(jax.random.key(0))
  hugging_face.write_folder(
    folder, sizes, params, {"eos_token_id": 2, "pad_token_id": 0}
  )
  return folder


def test_a_real_model_s_notebook_trains_and_exports_a_folder(run, tmp_path):
  workdir = tmp_path / "run"
  shown = run(
    "real_model",
    ROOT,
    MODEL=str(write_model(tmp_path / "model")),
    PRESET="smollm2_135m",
    DATA=str(GSM8K),
    STEPS=1,
    WORKDIR=str(workdir),
    OVERRIDES={
      "prompt.chat": False,
      "model.dtype": "float32",
      "model.fused_attention": False,  # kernels for TPUs
      "lora.rank": 2,
      "rollout.num_prompts": 2,
      "rollout.group_size": 2,
      "rollout.prompt_length": 192,
      "rollout.response_length": 4,
      "rollout.num_slots": 0,
      "training.num_microbatches": 1,
      "evaluation.split": "test[:2]",
      "evaluation.num_samples": 1,
      "evaluation.prompts_per_batch": 2,
    },
  )
  memory, *_ = shown
  assert re.search(r"^peak +0\.\d\d GB", memory, re.M)
  assert sum(isinstance(value, bytes) for value in shown) == 2
  assert (tmp_path / "run_model" / "model.safetensors").is_file()


def test_the_sweep_draws_a_band_for_each_method(run, tmp_path, capsys):
  shown = run(
    "sweep",
    COLAB,
    STEPS=2,
    PROMPTS=16,
    SAMPLES=2,
    WORKDIR=str(tmp_path / "sweep"),
  )
  *pictures, _table = shown
  assert len(pictures) == 3
  assert all(picture.startswith(PNG) for picture in pictures)
  printed = capsys.readouterr().out
  assert printed.count("python -m entrojax.main") == 6
  assert "6 finished" in printed


def test_your_own_reward_and_loss_are_trained_with(run, tmp_path):
  shown = run("your_own", COLAB, STEPS=1, WORKDIR=str(tmp_path / "own"))
  assert sum(isinstance(value, bytes) for value in shown) == 2


def test_the_pod_is_rehearsed(run, monkeypatch, capsys):
  chip = CHIPS["v5e"]
  monkeypatch.setattr(
    rehearse, "topology_devices", lambda name, slices: (jax.devices()[:1], chip)
  )
  monkeypatch.setattr(subprocess, "run", lambda *_, **__: None)  # no pip
  run("pod", ROOT, CONFIG="configs/countdown.py:test", TOPOLOGY="v5e:1x1")
  assert capsys.readouterr().out.count("% of 17.18 GB") >= 2


# -- what each has -------------------------------------------------------------


def test_every_notebook_is_tested_here():
  source = Path(__file__).read_text()
  assert all(f'"{name}"' in source for name in NOTEBOOKS)
  assert len(NOTEBOOKS) == 6


@pytest.mark.parametrize("folder", [ROOT, COLAB, COLAB / "..", ROOT.parent])
def test_the_first_cell_finds_the_repository_from_any_folder(
  folder, run, monkeypatch, tmp_path
):
  (tmp_path / "entrojax").symlink_to(ROOT)
  start = tmp_path if folder == ROOT.parent else folder
  monkeypatch.chdir(start)
  first = notebooks.cells(COLAB / "sweep.ipynb")[1]
  monkeypatch.setattr(runpy, "run_path", lambda path: {"prepare": print})
  exec(compile(notebooks.code_of(first), "first cell", "exec"), {})
  assert Path.cwd().resolve() == ROOT
  assert Path(sys.path[0]).resolve() == ROOT


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_has_badges_and_minutes_and_no_shell_commands(name):
  title, first, *rest = notebooks.cells(COLAB / f"{name}.ipynb")
  page = notebooks.code_of(title)
  for place in ("Colab", "Kaggle", "GitHub"):
    assert f"[![{place}](" in page
  assert page.count(f"/colab/{name}.ipynb)") == 3
  assert re.search(r"minute", page)
  other = notebooks.cells(COLAB / "sweep.ipynb")[1]
  assert first["source"] == other["source"]
  code = [cell for cell in rest if cell["cell_type"] == "code"]
  assert notebooks.is_parameters(code[0])
  for cell in code:
    assert not re.search(r"^\s*[!%]", notebooks.code_of(cell), re.M)
  outputs = [output for cell in [first, *code] for output in cell["outputs"]]
  assert "".join(first["outputs"][0]["text"]).startswith("Python 3.")
  assert code[-1]["outputs"], "run python -m tests.helpers.store_outputs"
  assert not any(output["output_type"] == "error" for output in outputs)
  assert "/work" not in str(outputs) and "/root" not in str(outputs)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_that_were_stored_with_other_parameters_say_so(name):
  path = COLAB / f"{name}.ipynb"
  document = json.loads(path.read_text(encoding="utf-8"))
  title, *rest = document["cells"]
  (parameters,) = filter(notebooks.is_parameters, rest)
  names = dict.fromkeys(notebooks.stored_with(document))
  assert bool(names) == ("`stored_with`" in notebooks.code_of(title))
  for parameter in names:
    assert f"\n{parameter} = " in f"\n{notebooks.code_of(parameters)}"


@pytest.mark.parametrize("tag", ["v9", "fix/tags"])
def test_an_address_is_written_into_badges_and_the_first_cell(tag):
  tool = runpy.run_path(str(COLAB / "address.py"))
  for name in NOTEBOOKS:
    text = (COLAB / f"{name}.ipynb").read_text(encoding="utf-8")
    changed = tool["with_address"](text, "me/my-fork", tag)
    assert changed.count(f"me/my-fork/blob/{tag}/colab/{name}.ipynb") == 3
    assert rf'"https://github.com/me/my-fork\", \"{tag}\"' in changed
    assert "OWNER" not in changed.replace('"/OWNER/', "")
    assert tool["with_address"](changed, "OWNER/entrojax", "v0.1.0") == text


@pytest.mark.parametrize(
  "arguments", [[], ["me"], ["me/fork", ""], ["me/fork", "v 9"]]
)
def test_an_address_that_cannot_be_is_refused(arguments):
  main = runpy.run_path(str(COLAB / "address.py"))["main"]
  with pytest.raises(SystemExit, match="usage: python colab/address"):
    main(arguments)


def test_a_notebook_without_an_address_does_not_clone(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  first = notebooks.code_of(notebooks.cells(COLAB / "sweep.ipynb")[1])
  with pytest.raises(ValueError, match="set URL to the address"):
    exec(compile(first, "first cell", "exec"), {})


def test_the_page_names_every_notebook():
  page = (COLAB / "README.md").read_text()
  for name in NOTEBOOKS:
    assert f"[{name}.ipynb]({name}.ipynb)" in page


# -- the memory that a run needs -----------------------------------------------


MODELS = ("qwen3_0_6b", "qwen2_5_0_5b", "gemma3_270m", "smollm2_135m")


@pytest.mark.parametrize("preset", MODELS)
@pytest.mark.parametrize("device", ["", ",v6e", ",t4", ",l4"])
def test_attention_is_fused_on_tpus_where_the_model_allows(preset, device):
  model = colab.get_config(f"{preset}{device}").model
  fits = SIZES_OF_MODELS[model.path].gemma3 is None
  assert model.fused_attention == (fits and device in ("", ",v6e"))


@pytest.mark.parametrize("preset", MODELS)
def test_a_preset_leaves_a_fifth_of_its_chip_free_by_the_estimate(preset):
  config = colab.get_config(preset)
  sizes = memory.parts(config, SIZES_OF_MODELS[config.model.path])
  assert memory.peak(sizes) < 0.8 * CHIPS["v5e"].memory


@pytest.mark.parametrize(
  ("num_slots", "prompt_length", "places"),
  [
    (128, 256, 128 * 512),  # a slot for each response: prompts stand apart
    (1000, 256, 128 * 512),  # no more slots than responses
    (64, 256, 64 * (256 + 512)),
    (128, 32, 128 * (32 + 512)),  # a short prompt is copied for each response
  ],
)
def test_keys_and_values_are_counted_by_hand(num_slots, prompt_length, places):
  config = colab.get_config("qwen3_0_6b")
  config.rollout.num_slots = num_slots
  config.rollout.prompt_length = prompt_length
  sizes = memory.parts(config, SIZES_OF_MODELS["Qwen3-0.6B"])
  # 28 layers of 8 heads of 128 channels, K and V, bfloat16
  by_token = 28 * 8 * 128 * 2 * 2
  assert sizes["decoding: keys and values"] == places * by_token
  prompts = sizes["decoding: those of the prompts"]
  assert prompts == 16 * prompt_length * by_token
  assert sizes["frozen base"] == 2 * 596_049_920


# -- what is installed ---------------------------------------------------------

SETUP = runpy.run_path(str(COLAB / "setup.py"))
PINNED = {"jax": "0.10.2", "jaxlib": "0.10.2", "optax": "0.2.8", "rich": "15.0"}
LEAST = {"jax": "0.10", "optax": "0.2.5", "rich": "13"}


def test_a_new_enough_jax_is_kept_and_what_is_missing_is_pinned():
  installed = {"jax": "0.11.0", "jaxlib": "0.11.0", "optax": "0.2.4"}
  to_install = SETUP["missing"](PINNED, LEAST, installed, "tpu")
  assert to_install == ["optax==0.2.8", "rich==15.0"]


@pytest.mark.parametrize(
  ("accelerator", "name"),
  [("tpu", "jax[tpu]"), ("gpu", "jax[cuda12]"), (None, "jax")],
)
def test_an_old_jax_is_replaced_by_the_one_for_the_accelerator(
  accelerator, name
):
  installed = {"jax": "0.9.9", "optax": "0.2.10", "rich": "13.0.0rc1"}
  to_install = SETUP["missing"](PINNED, LEAST, installed, accelerator)
  assert to_install == [f"{name}==0.10.2"]


@pytest.mark.parametrize("packages", [{}, {"libtpu": "0.0.42"}])
def test_the_compiler_for_tpus_is_installed_only_where_it_is_missing(
  packages, monkeypatch
):
  commands = []
  monkeypatch.setattr(subprocess, "run", lambda c, check: commands.append(c))
  add = runpy.run_path(str(COLAB / "setup.py"))["add_tpu_compiler"]
  monkeypatch.setitem(add.__globals__, "_installed", lambda: packages)
  add()
  expected = [] if packages else [f"jax[tpu]=={jax.__version__}"]
  assert [command[-1] for command in commands] == expected


def test_a_package_s_name_may_be_spelled_in_several_ways():
  pinned = {"ml-collections": "1.1.0", "tensorboardX": "2.6.5"}
  installed = {"ml-collections": "1.1.0", "tensorboardx": "2.6.5"}
  assert not SETUP["missing"](pinned, {}, installed, None)
  assert SETUP["_plain"]("Ml_Collections") == "ml-collections"


def test_only_what_runs_is_installed_and_nothing_is_missing_here():
  pins = SETUP["pins"]((ROOT / "requirements.txt").read_text())
  assert "jax" in pins and "matplotlib" in pins
  assert not {"pytest", "ruff", "mypy", "hypothesis"} & pins.keys()
  least = SETUP["least_versions"]((ROOT / "pyproject.toml").read_text())
  assert not SETUP["missing"](pins, least, SETUP["_installed"](), None)
