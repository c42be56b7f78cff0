"""Model folders as they are published: ends, templates, rotations, lengths.

Each test is a kind of folder that was read wrongly in silence, or refused.
"""

import json
import math
from pathlib import Path
import shutil
import warnings

import jax
import numpy as np
import pytest
import safetensors.numpy

from entrojax.assembly.check_settings import check
from entrojax.assembly.data import (
  drop_long,
  load_tokenizer,
  make_template,
  template_arguments,
)
from entrojax.assembly.model import _check_lengths
from entrojax.data import chat_template, prompt_stream
from entrojax.data import tokenizer as tokenizers
from entrojax.models import Lora, decoder, hugging_face, lora, peft, rope
from entrojax.types import Problem
from tests.helpers.paths import GOLDENS
from tests.helpers.system import tiny_config

PARITY = GOLDENS / "parity"
CHAT_ML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content }}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}
        {{- '<think>' }}
    {%- endif %}
{%- endif %}
"""


def edit(path: Path, **changes):
  """Change keys of a JSON file, which is created if missing."""
  raw = json.loads(path.read_text()) if path.is_file() else {}
  path.write_text(json.dumps(raw | changes))


@pytest.fixture
def folder(tmp_path):
  """Write the folder of a chat model; <eos> is 2, <|im_end|> is 3."""
  words = tokenizers.character_tokenizer("0123456789+= ")
  words.add_special_tokens(["<|im_end|>", "<|im_start|>"])
  words.save(str(tmp_path / "tokenizer.json"))
  edit(tmp_path / "config.json", eos_token_id=2, pad_token_id=0)
  return tmp_path


def config_of(folder, **overrides):
  return tiny_config(folder, **overrides)


# -- what ends a response ------------------------------------------------------


def test_an_end_that_config_json_does_not_name_is_told(folder):
  edit(folder / "tokenizer_config.json", eos_token="<|im_end|>")
  end = tokenizers.load(folder).token_id("<|im_end|>")
  message = (
    r"tokenizer_config\.json: eos_token '<\|im_end\|>', which does not end a "
    r"response: eos_token_id gives \[2\].*rollout\.stop_tokens to "
  )
  with pytest.warns(UserWarning, match=message):
    assert load_tokenizer(config_of(folder), folder).eos_ids == (2,)
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    for stops in (("<|im_end|>",), (end,), (end, "<|im_end|>")):
      config = config_of(folder, **{"rollout.stop_tokens": stops})
      assert load_tokenizer(config, folder).eos_ids == (2, end)
    edit(folder / "generation_config.json", eos_token_id=[2, end])
    assert load_tokenizer(config_of(folder), folder).eos_ids == (2, end)


def test_a_second_turn_is_no_part_of_the_response_with_a_stop_token(folder):
  config = config_of(folder, **{"rollout.stop_tokens": ("<|im_end|>",)})
  tokenizer = load_tokenizer(config, folder)
  ids = tokenizer.encode("4<|im_end|><|im_start|>5")
  assert tokenizer.decode(ids) == "4"


def test_what_the_chat_template_writes_after_a_turn_is_compared(folder):
  (folder / "chat_template.jinja").write_text(CHAT_ML)
  assert chat_template.turn_end(folder) == "<|im_end|>"
  with pytest.warns(UserWarning, match="the chat template ends a turn with '<"):
    load_tokenizer(config_of(folder, **{"prompt.chat": True}), folder)
  with warnings.catch_warnings():
    warnings.simplefilter("error")  # a base model's prompts have no turns
    load_tokenizer(config_of(folder), folder)


def test_a_stop_token_that_is_no_token_is_named(folder):
  for stop in ("<|end|>", 99):
    config = config_of(folder, **{"rollout.stop_tokens": (stop,)})
    with pytest.raises(
      ValueError, match=rf"rollout\.stop_tokens: .*{stop!r}"[:30]
    ):
      load_tokenizer(config, folder)


# -- chat templates ------------------------------------------------------------


def test_a_system_turn_and_variables_are_set_from_a_config(folder):
  (folder / "chat_template.jinja").write_text(CHAT_ML)
  config = config_of(
    folder,
    **{
      "prompt.chat": True,
      "prompt.system": "Be brief.",
      "prompt.template_arguments": ("enable_thinking=False", "name=x y"),
    },
  )
  assert template_arguments(config) == {"enable_thinking": False, "name": "x y"}
  text = make_template(config, folder)("1+1=")
  assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
  assert text.endswith("assistant\n<think>")


def test_settings_of_a_chat_without_a_chat_are_refused(folder):
  for key, value in {"system": "x", "template_arguments": ("a=1",)}.items():
    config = config_of(folder, **{f"prompt.{key}": value})
    with pytest.raises(ValueError, match=rf"prompt\.{key} is set and would do"):
      check(config)
  config = config_of(folder, **{"prompt.template_arguments": ("a",)})
  with pytest.raises(ValueError, match="'a' is not NAME=VALUE"):
    template_arguments(config)


def test_the_tags_of_generation_are_left_out(folder):
  (folder / "chat_template.jinja").write_text(
    "{% for m in messages %}{% generation %}{{ m.content }}"
    "{% if loop.last %}!{% endif %}{% endgeneration %}{% endfor %}"
  )
  assert chat_template.load(folder)("Q") == "Q!"


def test_the_date_of_a_template_is_always_the_same(folder):
  (folder / "chat_template.jinja").write_text(
    "{{ strftime_now('%d %b %Y') }}: {{ messages[0].content }}"
  )
  assert chat_template.load(folder)("Q") == "26 Jul 2024: Q"


# -- rotations -----------------------------------------------------------------


def read(tmp_path, name="qwen3", **changes):
  """Read the config.json of a parity model with other keys."""
  path = tmp_path / "config.json"
  path.write_text((PARITY / name / "config.json").read_text())
  edit(path, **changes)
  return hugging_face.read_config(tmp_path)


def test_a_rotation_under_its_type_of_layer_is_read(tmp_path):
  section = {"rope_theta": 5e6, "rope_type": "default"}
  sizes = read(tmp_path, rope_parameters={"full_attention": section})
  assert (sizes.rope_theta, sizes.rope_scaling) == (5e6, None)


@pytest.mark.parametrize(
  ("section", "message"),
  [
    (
      {"rope_theta": 5e6, "partial_rotary_factor": 0.5},
      "partial_rotary_factor is not 1",
    ),
    (
      {"full_attention": {"rope_theta": 1e6}, "other": {"rope_theta": 1e4}},
      "rotations that differ between types of layers",
    ),
    ({"rope_theta": 5e6, "mscale": 2.0}, "mscale of the rope_type 'default'"),
    (
      {"rope_type": "yarn", "factor": 4.0, "mscale_all_dim": 1.0},
      "mscale_all_dim of the rope_type 'yarn' cannot be read",
    ),
  ],
)
def test_no_key_of_a_rotation_is_ignored(section, message, tmp_path):
  with pytest.raises(ValueError, match=rf"rope_parameters.*{message}"):
    read(tmp_path, rope_parameters=section)


def test_the_same_rotation_in_both_spellings_is_no_conflict(tmp_path):
  section = {"type": "linear", "factor": 2.0}
  sizes = read(
    tmp_path,
    rope_theta=1e6,
    rope_scaling=section,
    rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6},
  )
  assert sizes.rope_scaling == rope.LinearScaling(2.0)
  with pytest.raises(ValueError, match="rope_scaling and rope_parameters diff"):
    read(
      tmp_path,
      rope_theta=1e6,
      rope_scaling={"type": "linear", "factor": 4.0},
      rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6},
    )


def test_linear_scaling_divides_positions(tmp_path):
  sizes = read(
    tmp_path,
    rope_theta=1e4,
    rope_parameters=None,
    rope_scaling={"type": "linear", "factor": 4.0},
  )
  stretched = rope.frequencies(8, 1e4, sizes.rope_scaling)
  np.testing.assert_allclose(4 * stretched, rope.frequencies(8, 1e4), rtol=1e-6)


def test_yarn_is_the_line_between_two_frequencies_of_the_paper():
  """A slow twin, pair by pair, of Qwen2.5's setting for 131,072 tokens."""
  width, theta, length, factor = 128, 1e6, 32768, 4.0
  pair_of = lambda turns: (
    width * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))
  )
  first, last = math.floor(pair_of(32.0)), math.ceil(pair_of(1.0))
  expected = []
  for pair in range(width // 2):
    plain = theta ** (-2 * pair / width)
    if pair <= first:
      share = 0.0
    elif pair >= last:
      share = 1.0
    else:
      share = (pair - first) / (last - first)
    expected.append(plain * (1 - share) + plain / factor * share)
  scaling = rope.YarnScaling(factor, length, 1.1386294)
  stretched = rope.frequencies(width, theta, scaling)
  np.testing.assert_allclose(stretched, np.float32(expected), rtol=1e-6)
  cos, sin = rope.rotations(
    np.array([[5]]), stretched, scaling.attention_factor
  )
  # queries and keys have the factor, so that scores have its square
  np.testing.assert_allclose(cos**2 + sin**2, 1.1386294**2, rtol=1e-5)


def test_qwen_s_setting_for_long_texts_is_read_and_written(tmp_path):
  sizes = read(
    tmp_path,
    rope_theta=1e6,
    rope_parameters=None,
    max_position_embeddings=32768,
    rope_scaling={
      "type": "yarn",
      "factor": 4.0,
      "original_max_position_embeddings": 32768,
    },
  )
  # 0.1 ln 4 + 1
  expected = rope.YarnScaling(4.0, 32768, pytest.approx(1.1386294))
  assert sizes.rope_scaling == expected
  assert sizes.context_length == 131_072
  hugging_face.write_config(tmp_path, sizes, eos_token_id=2, pad_token_id=0)
  assert hugging_face.read_config(tmp_path) == sizes


# -- lengths -------------------------------------------------------------------


def test_rows_that_are_longer_than_the_context_are_refused(tmp_path):
  sizes = read(tmp_path, max_position_embeddings=8)
  config = config_of(
    tmp_path, **{"rollout.prompt_length": 5, "rollout.response_length": 4}
  )
  message = r"rollout\.response_length = 9 tokens, and .* at most 8 \(max_pos"
  with pytest.raises(ValueError, match=message):
    _check_lengths(config, sizes, tmp_path)
  config.rollout.response_length = 3
  _check_lengths(config, sizes, tmp_path)


PROMPTS = [Problem("1" * length, {}) for length in (3, 11, 8, *[4] * 97)]


def test_prompts_that_are_too_long_are_counted_with_what_would_fit(folder):
  message = (
    r"1 of 100 prompts have more than rollout\.prompt_length=8 tokens\. The "
    r"longest, row 1, has 11: .* 99 % have at most 8\."
  )
  with pytest.raises(ValueError, match=message):
    prompt_stream.encode_prompts(PROMPTS, tokenizers.load(folder), 8)


def test_prompts_that_are_too_long_are_left_out_if_the_user_says_so(folder):
  words = tokenizers.load(folder)
  config = config_of(
    folder, **{"rollout.prompt_length": 8, "prompt.too_long": "drop"}
  )
  with pytest.warns(UserWarning, match="1 of 100 training prompts have more"):
    rows = drop_long(config, PROMPTS, words)
  assert rows.tolist() == [0, *range(2, 100)]
  prompt_stream.encode_prompts([PROMPTS[row] for row in rows], words, 8)
  config.rollout.prompt_length = 2
  with pytest.raises(ValueError, match="none is left"):
    drop_long(config, PROMPTS, words)
  config.prompt.too_long = "cut"
  with pytest.raises(ValueError, match=r"prompt\.too_long must be one of"):
    check(config)


# -- adapters ------------------------------------------------------------------

LORA = Lora(rank=2, alpha=6.0, projections=("q_proj", "down_proj"))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
  """Write a base, and beside it an adapter of it; return both folders."""
  root = tmp_path_factory.mktemp("adapted")
  base, folder = root / "base", root / "adapter"
  shutil.copytree(PARITY / "qwen3", base)
  sizes = hugging_face.read_config(base)
  shapes = jax.eval_shape(decoder(sizes, lora=LORA).init, jax.random.key(0))
  rng = np.random.default_rng(0)
  adapter = jax.tree.map(
    lambda leaf: np.float32(rng.normal(size=leaf.shape)), lora.split(shapes)[1]
  )
  peft.write_adapter(folder, adapter, LORA, "../base")
  return base, folder, adapter


def test_the_folder_of_an_adapter_is_read_with_its_base(adapted):
  base, folder, adapter = adapted
  assert sorted(p.name for p in folder.iterdir()) == [
    "adapter_config.json",
    "adapter_model.safetensors",
  ]
  sizes, params = hugging_face.load(folder)
  assert sizes == hugging_face.read_config(base)
  _, plain = hugging_face.load(base)
  expected = lora.merge(plain, adapter, LORA)
  # float32 sums in another order
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    params,
    expected,
  )
  assert hugging_face.digest(folder) != hugging_face.digest(base)


def test_an_adapter_beside_its_base_is_not_ignored(adapted, tmp_path):
  base, folder, _ = adapted
  both = tmp_path / "both"
  shutil.copytree(base, both)
  shutil.copytree(folder, both, dirs_exist_ok=True)
  _, params = hugging_face.load(both)
  _, expected = hugging_face.load(folder)
  jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_an_adapter_of_a_folder_that_has_one_itself_is_refused(
  adapted, tmp_path
):
  """Otherwise the inner adapter would be left out without a word."""
  base, folder, adapter = adapted
  both = tmp_path / "both"
  shutil.copytree(base, both)
  for name in ("adapter_config.json", "adapter_model.safetensors"):
    shutil.copy(folder / name, both / name)
  outer = tmp_path / "outer"
  peft.write_adapter(outer, adapter, LORA, str(both))
  with pytest.raises(ValueError, match="both has an adapter of its own"):
    hugging_face.load(outer)


def test_an_adapter_has_the_names_and_the_shapes_of_peft(adapted):
  """As PEFT writes them: A is [rank, in], and B is [out, rank]."""
  _, folder, adapter = adapted
  tensors = safetensors.numpy.load_file(folder / "adapter_model.safetensors")
  name = "base_model.model.model.layers.1.self_attn.q_proj.lora_{}.weight"
  leaves = adapter["layers"]["self_attn"]["q_proj"]
  np.testing.assert_array_equal(
    tensors[name.format("A")], leaves["lora_a"][1].T
  )
  np.testing.assert_array_equal(
    tensors[name.format("B")], leaves["lora_b"][1].T
  )
  config = json.loads((folder / "adapter_config.json").read_text())
  assert (config["r"], config["lora_alpha"]) == (2, 6.0)
  assert config["target_modules"] == ["down_proj", "q_proj"]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"base_model_name_or_path": "org/name"},
      "is 'org/name', which is not a l",
    ),
    ({"use_dora": True}, "use_dora is True; only False can be read"),
    ({"peft_type": "IA3"}, "peft_type is 'IA3'; only 'LORA' can be read"),
    ({"rank_pattern": {"q_proj": 4}}, "rank_pattern is {'q_proj': 4}; only"),
    ({"r": None}, "no rank r and lora_alpha"),
  ],
)
def test_an_adapter_that_computes_something_else_is_named(
  changes, message, adapted, tmp_path
):
  base, folder, _ = adapted
  copied = tmp_path / "adapter"
  shutil.copytree(folder, copied)
  edit(copied / "adapter_config.json", base_model_name_or_path=str(base))
  edit(copied / "adapter_config.json", **changes)
  with pytest.raises(ValueError, match=rf"adapter_config\.json: .*{message}"):
    hugging_face.load(copied)


def test_half_an_adapter_is_named(adapted, tmp_path):
  base, folder, _ = adapted
  shutil.copytree(base, tmp_path / "model")
  shutil.copy(folder / "adapter_model.safetensors", tmp_path / "model")
  with pytest.raises(ValueError, match=r"adapter_config\.json: no such file"):
    hugging_face.load(tmp_path / "model")
