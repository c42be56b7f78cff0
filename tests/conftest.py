"""Fixtures for all tests: eight fake devices, a compilation cache, models.

The environment is set before JAX is imported, because JAX reads it only once.
"""

import gc
import os
from pathlib import Path

from tests.helpers.xla import QUICK_FLAGS

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["NO_GCE_CHECK"] = "true"  # do not look for a cloud machine
os.environ["XLA_FLAGS"] = " ".join(
  (
    os.environ.get("XLA_FLAGS", ""),
    "--xla_force_host_platform_device_count=8",
    QUICK_FLAGS,
  )
)

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entrojax import sft as sft_module
from entrojax import train as train_module
from entrojax.assembly import check_run, samplers
from entrojax.assembly import run as build_module
from entrojax.entropy.statistics import (
  log_prob_at,
  old,
  top_log_probs,
  top_p_entropy,
)
from entrojax.models import DecoderConfig, decoder
from entrojax.system.sharding import make_mesh
from entrojax.types import Cache, Model, Params, ScoredTokens
from tests.helpers.system import tiny_config, write_base


def pytest_configure(config):
  """Share compiled code between workers and runs; forbid rank promotion."""
  cache = config.cache.mkdir("jax")
  jax.config.update("jax_compilation_cache_dir", str(cache))
  # processes that tests start must not write to the user's cache
  os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_numpy_rank_promotion", "raise")
  # traces need no line numbers, and their many small objects no collector
  jax.config.update("jax_traceback_in_locations_limit", 0)
  gc.freeze()
  gc.set_threshold(100_000, 20, 20)
  # a machine that is busy with other programs is no fault of a test
  hypothesis.settings.register_profile(
    "busy",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
  )
  hypothesis.settings.load_profile("busy")


def pytest_collection_modifyitems(items):
  """Put files that begin with a slow test first, so that no worker waits long.

  Workers take whole files in this order; the short files fill the gaps.
  """
  first = {}
  for item in items:
    first.setdefault(item.path, item)
  is_slow = {
    path: item.get_closest_marker("slow") is not None
    for path, item in first.items()
  }
  items.sort(key=lambda item: not is_slow[item.path])


@pytest.fixture(scope="session")
def sizes() -> DecoderConfig:
  """Return the sizes of the tiny decoder; no two widths are equal."""
  return DecoderConfig(
    vocab_size=11,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
  )


@pytest.fixture(scope="session")
def tiny_model(sizes) -> tuple[Model, Params]:
  """Return a decoder with 11 tokens and its float32 parameters.

  The embedding table is 20 times larger than a fresh model's, so that entropies
  differ from token to token.
  """
  model = decoder(sizes)
  params = dict(jax.jit(model.init)(jax.random.key(0)))
  params["embed_tokens"] = 20 * params["embed_tokens"]
  return model, params


@pytest.fixture(scope="session")
def bigram() -> Model:
  """Return a policy over 8 tokens whose logits are a row of a table.

  Its parameters are {"embed_tokens": f32[8, 8]}, indexed by the previous token.
  Its cache holds nothing.
  """
  zero = np.zeros((), np.int32)
  nothing = Cache(layers=(), positions=zero, index=zero, filled=zero)

  def apply(params, tokens, positions, cache=None, *, in_place=False):
    del positions, in_place
    return params["embed_tokens"][tokens], cache

  return Model(
    init=lambda key: {"embed_tokens": jnp.zeros((8, 8))},
    apply=apply,
    apply_branches=lambda params, prompts, _, responses, __: (
      params["embed_tokens"][prompts],
      params["embed_tokens"][responses],
    ),
    unembedding=lambda params: jnp.eye(8, dtype=params["embed_tokens"].dtype),
    init_cache=lambda batch_size, length: nothing,
    share_cache=lambda cache, times: cache,
    continue_cache=lambda cache, times, length: cache,
    refill_cache=lambda cache, prompts, numbers, marked: cache,
  )


@pytest.fixture(scope="session")
def random_tokens():
  """Return random_tokens(seed, num_rows, num_tokens) -> ScoredTokens."""
  return _random_tokens


def _random_tokens(
  seed: int, num_rows: int, num_tokens: int, dtype=np.float32
) -> ScoredTokens:
  """Draw a mini-batch whose padding is NaN, infinite or huge.

  Rows end at different tokens; the first row is full and the last one empty.
  Ratios lie on both sides of the usual clip range and never on its bounds. Some
  tokens are more probable than 0.95, so that EntroPIC's set is not empty.
  """
  rng = np.random.default_rng(seed)
  shape = (num_rows, num_tokens)
  lengths = rng.integers(1, num_tokens + 1, num_rows)
  lengths[0], lengths[-1] = num_tokens, 0
  mask = np.arange(num_tokens) < lengths[:, None]
  log_probs = -rng.exponential(0.5, shape)
  log_probs[:, ::3] = -rng.uniform(0.001, 0.04, log_probs[:, ::3].shape)
  advantages = np.repeat(rng.normal(size=(num_rows, 1)), num_tokens, axis=1)
  advantages[::2] = np.abs(advantages[::2])  # both signs, whatever the seed
  advantages[1::2] = -np.abs(advantages[1::2])
  fields = {
    "log_probs": log_probs,
    "old_log_probs": log_probs + rng.normal(0, 0.3, shape),
    "ref_log_probs": log_probs + rng.normal(0, 0.5, shape),
    "entropy": rng.gamma(2.0, 0.5, shape),
    "old_entropy": rng.gamma(2.0, 0.5, shape),
    "advantages": advantages,
    "step_ok": rng.random(shape) < 0.5,
    "rollout_entropy": np.full(shape, 0.9),
  }
  garbage = [np.nan, np.inf, -np.inf, 1e30, -1e30]
  old_log_probs = fields["old_log_probs"]
  fields = {
    name: np.where(mask, value, rng.choice(garbage, shape)).astype(dtype)
    for name, value in fields.items()
  }
  # Half of the tokens are the likeliest ones.
  steps = rng.exponential(0.5, (*shape, 4))
  first = rng.random(shape) < 0.5
  top, old_top = (
    np.where(first, x, x / 2)[..., None]
    - np.cumsum(steps, axis=2)
    + steps[..., :1]
    for x in (log_probs, old_log_probs)
  )
  values = {
    top_p_entropy(0.8): rng.gamma(2.0, 0.5, shape),
    top_log_probs(3): top[..., :3],
    old(top_log_probs(4)): old_top,
    old(log_prob_at(1.2)): log_probs + rng.normal(0, 0.2, shape),
    old(log_prob_at(0.8)): log_probs + rng.normal(0, 0.2, shape),
  }
  statistics = {
    name: np.where(mask if x.ndim == 2 else mask[..., None], x, np.nan)
    for name, x in values.items()
  }
  return ScoredTokens(
    **jax.tree.map(jnp.asarray, fields),
    mask=jnp.asarray(mask, np.float32),
    statistics={k: jnp.asarray(x, dtype) for k, x in statistics.items()},
  )


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
  """Return the folder of the session's data sets, prepared at first use."""
  return tmp_path_factory.mktemp("data")


@pytest.fixture
def session_data(monkeypatch, data_dir):
  """Let tasks find the session's data sets by default."""
  monkeypatch.setenv("ENTROJAX_DATA_DIR", str(data_dir))


@pytest.fixture
def environment(request, data_dir) -> dict[str, str]:
  """Return variables for processes: the data and the cache of the tests."""
  return {
    "ENTROJAX_DATA_DIR": str(data_dir),
    "JAX_COMPILATION_CACHE_DIR": str(request.config.cache.mkdir("jax")),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "XLA_FLAGS": QUICK_FLAGS,
  }


@pytest.fixture
def one_device(monkeypatch):
  """Let a run see only the first of the fake devices."""
  first = jax.devices()[:1]
  for module in (build_module, samplers, check_run, sft_module):
    monkeypatch.setattr(
      module, "make_mesh", lambda shape: make_mesh(shape, first)
    )


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
  """Return the folder of a tiny base for Countdown, with random parameters."""
  return write_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory) -> Path:
  """Return the folder of `finished`, which may not exist yet."""
  return tmp_path_factory.mktemp("runs") / "finished"


@pytest.fixture
def finished(finished_folder, base, one_device, session_data) -> Path:
  """Return the folder of a run of tiny_config(base), which is made once.

  Tests must leave its files as they are.
  """
  if not finished_folder.exists():
    assert train_module.train(tiny_config(base), finished_folder) is None
  return finished_folder


@pytest.fixture
def no_implicit_transfers(monkeypatch):
  """Raise if the train loop moves an array without saying so.

  The loop's steps, evaluations and checkpoints run under the guard. Building a
  run does not: it places arrays once.
  """

  def guarded(function):
    def run(*args):
      with jax.transfer_guard("disallow"):
        return function(*args)

    return run

  for name in ("_loop", "_evaluate"):
    function = getattr(train_module, name)
    monkeypatch.setattr(train_module, name, guarded(function))


@pytest.fixture
def float64():
  """Let a test compute in float64, with arrays that it makes itself."""
  with jax.enable_x64(True):
    yield
