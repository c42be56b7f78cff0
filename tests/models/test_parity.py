"""The decoder computes what transformers computes, for each architecture.

The folders below tests/goldens/parity and the logits in them were written by
transformers; see make_goldens.py there. If torch and transformers are
installed, the last tests compare with transformers itself, on random models.
"""

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax.entropy.token_stats import unembed
from entrojax.models import decoder, hugging_face
from entrojax.models.rope import Llama3Scaling, frequencies
from entrojax.rollouts.sampler import Sampling, generate, make_sampler
from entrojax.types import Prompts
from entrojax.update.scoring import score
from tests.helpers.paths import GOLDENS
from tests.helpers.tiny_models import random_params
from tests.helpers.xla import QUICK_OPTIONS

pytestmark = pytest.mark.slow

PARITY = GOLDENS / "parity"
NAMES = ("qwen2", "qwen3", "llama3", "smollm2", "gemma3")
# Logits are about 2. They are sums of about 100 float32 products, each rounded
# by 1e-7 of its size.
TOLERANCE = 2e-5

model_of = functools.cache(decoder)


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK_OPTIONS)
def apply(model, params, tokens, positions, cache=None):
  hidden, cache = model.apply(params, tokens, positions, cache)
  return unembed(hidden, model.unembedding(params)), cache


def positions_of(mask):
  """Return i32[B, L], counted from each row's first token; padding is -1."""
  return np.where(mask > 0, np.cumsum(mask, axis=1) - 1, -1).astype(np.int32)


def logits_of(sizes, params, tokens, mask, *, prompt_length=None, **options):
  """Compute logits f32[B, L, V].

  With a prompt_length, the prompt is a prefill and the other tokens are read
  one by one, from a cache. Otherwise all tokens are read at once.
  """
  model, positions = model_of(sizes, **options), positions_of(mask)
  if prompt_length is None:
    return apply(model, params, tokens, positions)[0]
  cache, parts = model.init_cache(*tokens.shape), []
  cuts = [0, *range(prompt_length, tokens.shape[1] + 1)]
  for start, end in itertools.pairwise(cuts):
    at = np.s_[:, start:end]
    logits, cache = apply(model, params, tokens[at], positions[at], cache)
    parts.append(logits)
  return jnp.concatenate(parts, axis=1)


def largest_difference(actual, expected, mask):
  return np.max(np.abs(np.asarray(actual) - expected)[mask > 0])


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_padded_rows_are_those_of_transformers(name):
  golden = np.load(PARITY / name / "goldens.npz")
  sizes, params = hugging_face.load(PARITY / name)
  tokens, mask = golden["tokens"], golden["mask"]
  assert np.std(golden["logits"][mask > 0]) > 0.4
  for prompt_length in (None, 6):
    result = logits_of(sizes, params, tokens, mask, prompt_length=prompt_length)
    assert largest_difference(result, golden["logits"], mask) < TOLERANCE


def test_layers_of_both_types_are_told_apart_in_a_scan():
  golden = np.load(PARITY / "gemma3" / "goldens.npz")
  sizes, params = hugging_face.load(PARITY / "gemma3")
  tokens, mask = golden["tokens"], golden["mask"]
  for prompt_length in (None, 6):  # after 6 tokens the window drops some
    result = logits_of(
      sizes,
      params,
      tokens,
      mask,
      prompt_length=prompt_length,
      scan_layers=True,
    )
    assert largest_difference(result, golden["logits"], mask) < TOLERANCE


def test_llama_3_scales_each_wave_as_its_definition_says():
  scaling = Llama3Scaling(
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=8192,
  )
  result = frequencies(64, 500_000.0, scaling)
  kept = between = stretched = 0
  for i, actual in enumerate(result):
    plain = 500_000.0 ** (-2 * i / 64)
    wave = 2 * np.pi / plain
    if wave < 8192 / 4:
      expected, kept = plain, kept + 1
    elif wave > 8192 / 1:
      expected, stretched = plain / 8, stretched + 1
    else:
      smooth = (8192 / wave - 1) / (4 - 1)
      expected = (1 - smooth) * plain / 8 + smooth * plain
      between += 1
    np.testing.assert_allclose(actual, expected, rtol=1e-6)  # float32
  assert kept and between and stretched


@pytest.mark.parametrize("name", NAMES)
def test_both_spellings_of_the_rotation_are_one_config(name, tmp_path):
  expected = hugging_face.read_config(PARITY / name)
  raw = json.loads((PARITY / name / "config.json").read_text())
  rope = raw.pop("rope_parameters")
  if name == "gemma3":  # a theta for each type of layer
    raw["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    rope = rope["full_attention"]
    del raw["layer_types"], raw["tie_word_embeddings"]
    raw["sliding_window_pattern"] = 2
  raw["rope_theta"] = rope.pop("rope_theta")
  raw["rope_scaling"] = rope if rope["rope_type"] == "llama3" else None
  (tmp_path / "config.json").write_text(json.dumps(raw))
  assert hugging_face.read_config(tmp_path) == expected


# -- the sampler and the scorer -----------------------------------------------


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK_OPTIONS)
def sampled_and_scored(model, params, prompts, key):
  """Return log-probs f32[6, 8] of the sampler and the scorer, and a mask."""
  rollout = generate(
    model,
    params,
    prompts,
    key,
    sampling=Sampling(
      group_size=2,
      response_length=8,
      eos_ids=(2, 5),
      pad_id=0,
      sampler=make_sampler(),
    ),
  )
  scored, _ = score(
    model,
    params,
    rollout.tokens,
    rollout.positions,
    response_length=8,
    group_size=2,
  )
  return rollout.log_probs, scored, rollout.response_mask


@pytest.mark.parametrize(
  ("name", "dtype", "product_dtype", "tolerance"),
  [
    ("qwen2", jnp.float32, jnp.float32, 1e-4),
    # bfloat16 has 8 bits: 0.4 % of logits of about 2, at each of 2 layers
    ("qwen2", jnp.bfloat16, jnp.float32, 0.05),
    # an operand on the edge between two bfloat16 may be rounded either way
    ("qwen2", jnp.float32, jnp.bfloat16, 0.02),
  ],
)
def test_sampler_and_scorer_agree(
  name, dtype, product_dtype, tolerance, record_property
):
  golden = np.load(PARITY / name / "goldens.npz")
  sizes, params = hugging_face.load(PARITY / name)
  prompts = Prompts(
    tokens=golden["tokens"][:, :8],
    mask=np.float32(golden["mask"][:, :8]),
    ids=np.arange(3, dtype=np.int32),
  )
  sampled, scored, mask = sampled_and_scored(
    model_of(sizes, dtype=dtype, product_dtype=product_dtype, scan_layers=True),
    params,
    prompts,
    jax.random.key(0),
  )
  assert np.sum(mask) > 20
  largest = largest_difference(sampled, np.asarray(scored), np.asarray(mask))
  record_property("largest_difference_of_log_probs", float(largest))
  assert largest < tolerance


# -- live ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def transformers():
  reason = "compares with transformers where it and torch are installed"
  pytest.importorskip("torch", reason=reason)
  return pytest.importorskip("transformers", reason=reason)


def live_logits(transformers, folder, tokens, mask):
  """Return the logits of the model that transformers loads from a folder."""
  import torch

  model = transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, attn_implementation="eager"
  ).eval()
  with torch.no_grad():
    return model(
      input_ids=torch.tensor(tokens),
      attention_mask=torch.tensor(mask),
      position_ids=torch.tensor(np.maximum(positions_of(mask), 0)),
    ).logits.numpy()


def live_sizes(name):
  """Return other sizes than the goldens have: 3 layers, 3 heads per key."""
  sizes = hugging_face.read_config(PARITY / name)
  gemma3 = sizes.gemma3
  if gemma3 is not None:
    types = ("sliding_attention", "full_attention", "sliding_attention")
    gemma3 = dataclasses.replace(gemma3, layer_types=types, sliding_window=7)
  return dataclasses.replace(
    sizes,
    gemma3=gemma3,
    vocab_size=90,
    hidden_size=48,
    intermediate_size=64,
    num_hidden_layers=3,
    num_attention_heads=6,
    head_dim=16,
  )


@pytest.mark.parametrize("name", NAMES)
def test_transformers_loads_an_export_and_agrees(name, transformers, tmp_path):
  sizes = live_sizes(name)
  params = jax.tree.map(lambda x: 0.3 * x, random_params(sizes))
  hugging_face.write_folder(
    tmp_path / "base",
    sizes,
    params,
    {"eos_token_id": [2, 5], "pad_token_id": 0},
  )
  hugging_face.export_folder(
    tmp_path / "export", tmp_path / "base", params, max_shard_bytes=40_000
  )
  assert len(list((tmp_path / "export").glob("model-*"))) > 2
  rng = np.random.default_rng(1)
  tokens = rng.integers(90, size=(4, 40))
  lengths = np.array([40, 31, 22, 5])
  mask = np.int64(np.arange(40) >= 40 - lengths[:, None])
  expected = live_logits(transformers, tmp_path / "export", tokens, mask)
  for prompt_length in (None, 36):
    result = logits_of(sizes, params, tokens, mask, prompt_length=prompt_length)
    assert largest_difference(result, expected, mask) < TOLERANCE
  config = transformers.AutoConfig.from_pretrained(tmp_path / "export")
  assert config.eos_token_id == [2, 5]


@pytest.mark.parametrize("name", NAMES)
def test_the_goldens_are_what_transformers_computes(name, transformers):
  golden = np.load(PARITY / name / "goldens.npz")
  tokens, mask = np.int64(golden["tokens"]), np.int64(golden["mask"])
  result = live_logits(transformers, PARITY / name, tokens, mask)
  assert largest_difference(result, golden["logits"], mask) < TOLERANCE
