"""Read and write config.json: the architecture and the sizes of a model.

Two spellings of the rotation are read: `rope_theta` next to `rope_scaling`, as
in released checkpoints, and `rope_parameters`, as transformers 5 writes it. The
first is written, because every version of transformers reads it.

A file is refused if a key that this module knows selects a variant that our
decoder does not compute, because the model would otherwise load and be wrong.
Keys that it does not know are ignored.
"""

from collections.abc import Mapping
import dataclasses
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from entrojax.arguments import require_in
from entrojax.models.rope import (
  LinearScaling,
  Llama3Scaling,
  Scaling,
  YarnScaling,
)
from entrojax.models.sizes import MAX_LAYERS, DecoderConfig, Gemma3
from entrojax.system.model_files import file_of


class _Architecture(NamedTuple):
  """The facts that the name of an architecture implies."""

  model_type: str
  qkv_bias: bool
  qk_norm: bool
  needs_head_dim: bool  # False: default hidden_size / num_attention_heads
  is_gemma3: bool = False


_ARCHITECTURES = {
  "Gemma3ForCausalLM": _Architecture("gemma3_text", False, True, True, True),
  "LlamaForCausalLM": _Architecture("llama", False, False, False),
  "Qwen2ForCausalLM": _Architecture("qwen2", True, False, False),
  "Qwen3ForCausalLM": _Architecture("qwen3", False, True, True),
}
# The decoder computes these variants only. Another value would load, and the
# model would be wrong.
_ONLY = {
  "hidden_act": "silu",
  "attention_bias": False,
  "mlp_bias": False,
  "use_sliding_window": False,
  "use_mrope": False,
  "rope_interleaved": False,
  "partial_rotary_factor": 1.0,
  "quantization_config": None,
}
_ONLY_GEMMA3 = {
  "hidden_activation": "gelu_pytorch_tanh",
  "attn_logit_softcapping": None,
  "final_logit_softcapping": None,
  "use_bidirectional_attention": False,
}


def read_config(folder: Path) -> DecoderConfig:
  """Read the sizes of a decoder from `folder`/config.json.

  Raises:
    ValueError: the file is missing, is not JSON, lacks a key or describes an
      architecture that is not supported. The message names file and key.
  """
  path = file_of(folder, "config.json")
  raw = read_json(path)
  architecture = _architecture(path, raw)
  _refuse_variants(path, raw, _ONLY)
  gemma3 = None
  if architecture.is_gemma3:
    raw, gemma3 = _read_gemma3(path, raw)
  else:
    _refuse_layer_types(path, raw)
  if not architecture.needs_head_dim and raw.get("head_dim") is None:
    raw["head_dim"] = _default_head_dim(path, raw)
  theta, scaling = _read_rotation(path, raw)
  # the defaults of transformers, which released files leave out
  raw = {"tie_word_embeddings": False, "max_position_embeddings": 4096, **raw}
  computed = {
    "rope_theta": theta,
    "rope_scaling": scaling,
    "qkv_bias": architecture.qkv_bias,
    "qk_norm": architecture.qk_norm,
    "gemma3": gemma3,
  }
  fields = _read_fields(path, raw, DecoderConfig, leave_out=computed)
  return _construct(path, DecoderConfig, **fields, **computed)


def write_config(
  folder: Path,
  config: DecoderConfig,
  *,
  eos_token_id: int | list[int],
  pad_token_id: int | None,
  torch_dtype: str = "float32",
) -> None:
  """Write `folder`/config.json for the architecture that has these sizes.

  Args:
    folder: an existing folder.
    config: the sizes.
    eos_token_id: the tokens that end a response.
    pad_token_id: the token that fills rows.
    torch_dtype: type of the weights in the folder.

  Raises:
    ValueError: no supported architecture has this combination of options.
  """
  name, architecture = _find_architecture(config)
  raw = dataclasses.asdict(config)
  del raw["qkv_bias"], raw["qk_norm"], raw["gemma3"]
  if config.gemma3 is not None:
    raw |= dataclasses.asdict(config.gemma3)
    raw["hidden_activation"] = _ONLY_GEMMA3["hidden_activation"]
  if config.rope_scaling is not None:
    raw["rope_scaling"]["rope_type"] = config.rope_scaling.rope_type
  raw |= {
    "architectures": [name],
    "model_type": architecture.model_type,
    "hidden_act": "silu",
    "torch_dtype": torch_dtype,
    "eos_token_id": eos_token_id,
    "pad_token_id": pad_token_id,
  }
  path = Path(folder) / "config.json"
  path.write_text(json.dumps(raw, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
  """Read a file that holds a JSON object.

  Raises:
    ValueError: the file is missing or holds no JSON object. The message names
      the file.
  """
  try:
    raw = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file; is this a model folder?") from None
  except ValueError as error:  # it is raised for bytes that are not UTF-8, too
    raise ValueError(f"{path}: not JSON: {error}") from None
  if not isinstance(raw, dict):
    raise ValueError(f"{path}: not a JSON object")
  return raw


def _architecture(path: Path, raw: Mapping[str, Any]) -> _Architecture:
  """Look up the one architecture that a config.json names."""
  names = raw.get("architectures")
  for name, architecture in _ARCHITECTURES.items():
    if names == [name]:
      return architecture
  raise ValueError(
    f"{path}: architectures is {names}, but it must be a list with one of "
    f"{sorted(_ARCHITECTURES)}"
  )


def _find_architecture(config: DecoderConfig) -> tuple[str, _Architecture]:
  """Find the architecture that has the options of a decoder, and its name."""
  options = (config.qkv_bias, config.qk_norm, config.gemma3 is not None)
  for name, architecture in _ARCHITECTURES.items():
    if options == (
      architecture.qkv_bias,
      architecture.qk_norm,
      architecture.is_gemma3,
    ):
      return name, architecture
  raise ValueError(
    f"qkv_bias = {config.qkv_bias} with qk_norm = {config.qk_norm} is none of "
    f"{sorted(_ARCHITECTURES)}"
  )


def _refuse_variants(
  path: Path, raw: Mapping[str, Any], only: Mapping[str, Any]
) -> None:
  """Raise ValueError if a key has another value than the only one supported."""
  for key, value in only.items():
    if raw.get(key, value) not in (value, None):
      raise ValueError(
        f"{path}: {key} is {raw[key]!r}; only {value!r} can be read"
      )


def _refuse_layer_types(path: Path, raw: Mapping[str, Any]) -> None:
  """Raise ValueError if a layer has a window; only Gemma 3 may have one."""
  layer_types = raw.get("layer_types") or []
  if not isinstance(layer_types, list):
    raise ValueError(f"{path}: layer_types is {layer_types!r}, not a list")
  if any(kind != "full_attention" for kind in layer_types):
    raise ValueError(
      f"{path}: layer_types is {layer_types}; only 'full_attention' can be read"
    )


def _read_gemma3(
  path: Path, raw: Mapping[str, Any]
) -> tuple[dict[str, Any], Gemma3]:
  """Split the config.json of a Gemma 3 into common keys and its own.

  transformers 5 writes rope_parameters for each type of layer. The common keys
  that this returns hold the rope_parameters of layers with full attention.
  """
  _refuse_variants(path, raw, _ONLY_GEMMA3)
  raw = {"tie_word_embeddings": True, **raw}
  both = raw.get("rope_parameters")
  if both is not None:
    try:
      raw["rope_parameters"] = both["full_attention"]
      local = both["sliding_attention"]
      raw["rope_local_base_freq"] = local["rope_theta"]
      scaled = local["rope_type"] != "default"
    except (KeyError, TypeError):
      scaled = True
    if scaled:
      raise ValueError(
        f"{path}: rope_parameters is {both}, not a theta for full_attention "
        "and one for sliding_attention"
      )
  elif "rope_theta" not in raw:
    raise ValueError(f"{path}: lacks rope_theta")
  own = _read_fields(path, raw, Gemma3, leave_out=("layer_types",))
  own["layer_types"] = _layer_types(path, raw)
  return raw, _construct(path, Gemma3, **own)


def _layer_types(path: Path, raw: Mapping[str, Any]) -> tuple[str, ...]:
  """Return the type of each layer.

  Older files give only sliding_window_pattern = n: every n-th layer has full
  attention.
  """
  kinds = raw.get("layer_types")
  if isinstance(kinds, list):
    return tuple(kinds)
  if kinds is not None:
    raise ValueError(f"{path}: layer_types is {kinds!r}, not a list")
  pattern = raw.get("sliding_window_pattern", 6)
  if type(pattern) is not int or pattern < 1:
    raise ValueError(
      f"{path}: sliding_window_pattern is {pattern!r}, not a number of layers"
    )
  _require(path, raw, ["num_hidden_layers"])
  depth = _number(path, "num_hidden_layers", raw["num_hidden_layers"], int)
  require_in(f"{path}: num_hidden_layers", depth, f"[1, {MAX_LAYERS}]")
  return tuple(
    "sliding_attention" if i % pattern else "full_attention"
    for i in range(1, depth + 1)
  )


def _default_head_dim(path: Path, raw: Mapping[str, Any]) -> int:
  """Compute hidden_size / num_attention_heads."""
  sizes = ("hidden_size", "num_attention_heads")
  _require(path, raw, sizes)
  width, heads = (_number(path, name, raw[name], int) for name in sizes)
  if heads < 1 or width % heads:
    raise ValueError(
      f"{path}: hidden_size = {width} is not a multiple of num_attention_heads "
      f"= {heads}, and head_dim is missing"
    )
  return width // heads


def _read_rotation(
  path: Path, raw: Mapping[str, Any]
) -> tuple[float, Scaling | None]:
  """Read theta, and the stretching of the rotation if there is one.

  No key of a section is ignored: one that is not known here is refused.
  """
  sections = {
    name: _full_attention(path, name, raw[name])
    for name in ("rope_scaling", "rope_parameters")
    if raw.get(name)
  }
  contents = [
    {
      "rope_theta": raw.get("rope_theta"),
      **{k: v for k, v in section.items() if k != "rope_type"},
      "type": section.get("rope_type", section.get("type", "default")),
    }
    for section in sections.values()
  ]
  if len(sections) > 1 and contents[0] != contents[1]:
    raise ValueError(f"{path}: {' and '.join(sections)} differ: {sections}")
  name = next(iter(sections), "rope_theta")
  section = dict(contents[0]) if contents else {}
  theta = section.pop("rope_theta", None)
  theta = raw.get("rope_theta", 10_000.0) if theta is None else theta
  theta = _number(path, "rope_theta", theta, float)
  kind = section.pop("type", "default")
  where = f"{path}: {name}"
  if section.pop("partial_rotary_factor", 1.0) not in (1.0, None):
    raise ValueError(
      f"{where}: partial_rotary_factor is not 1, so that only a part of a head "
      "is rotated; this cannot be read"
    )
  if kind not in _SCALINGS:
    raise ValueError(
      f"{where}: the rope_type {kind!r} is none of {sorted(_SCALINGS)}"
    )
  keys, read = _SCALINGS[kind]
  unknown = {k for k, v in section.items() if v is not None} - set(keys)
  if unknown:
    raise ValueError(
      f"{where}: {', '.join(sorted(unknown))} of the rope_type {kind!r} cannot "
      "be read"
    )
  return theta, read(where, raw, section)


def _full_attention(path: Path, name: str, section: Any) -> dict[str, Any]:
  """Return a section of the rotation, which may stand under a type of layer."""
  if isinstance(section, dict) and set(section) == {"full_attention"}:
    section = section["full_attention"]
  if not isinstance(section, dict):
    raise ValueError(f"{path}: {name} is {section!r}, not an object")
  if any(isinstance(value, dict) for value in section.values()):
    raise ValueError(
      f"{path}: {name} is {section!r}: rotations that differ between types of "
      "layers cannot be read"
    )
  return section


def _no_scaling(where: Any, raw: Any, section: Any) -> None:
  del where, raw, section


def _llama3(where: Any, raw: Any, section: Any) -> Scaling:
  del raw
  fields = _read_fields(where, section, Llama3Scaling)
  return _construct(where, Llama3Scaling, **fields)


def _linear(where: Any, raw: Any, section: Any) -> Scaling:
  del raw
  fields = _read_fields(where, section, LinearScaling)
  return _construct(where, LinearScaling, **fields)


def _yarn(where: Any, raw: Any, section: Any) -> Scaling:
  """Read YaRN, with transformers' defaults of what a file may leave out."""
  given = {name: value for name, value in section.items() if value is not None}
  _require(where, given, ["factor"])
  factor = _number(where, "factor", given["factor"], float)
  defaults = {
    "original_max_position_embeddings": raw.get(
      "max_position_embeddings", 4096
    ),
    "attention_factor": YarnScaling.default_attention_factor(factor),
    "beta_fast": 32.0,
    "beta_slow": 1.0,
  }
  fields = _read_fields(where, {**defaults, **given}, YarnScaling)
  return _construct(where, YarnScaling, **fields)


_LLAMA3_KEYS = tuple(f.name for f in dataclasses.fields(Llama3Scaling))
_YARN_KEYS = tuple(f.name for f in dataclasses.fields(YarnScaling))
# rope_type -> the keys of its section, and the function that reads it. A
# dynamic rotation is plain up to max_position_embeddings; longer texts are
# refused before a run starts.
_SCALINGS: Mapping[str, tuple[tuple[str, ...], Any]] = {
  "default": ((), _no_scaling),
  "dynamic": (("factor", "original_max_position_embeddings"), _no_scaling),
  "linear": (("factor",), _linear),
  "llama3": (_LLAMA3_KEYS, _llama3),
  "yarn": (_YARN_KEYS, _yarn),
}


def _read_fields(
  where: Any, raw: Mapping[str, Any], kind: Any, leave_out: Any = ()
) -> dict[str, Any]:
  """Read the fields of a dataclass from a JSON object; check their types."""
  fields = [f for f in dataclasses.fields(kind) if f.name not in leave_out]
  _require(where, raw, [f.name for f in fields])
  return {f.name: _number(where, f.name, raw[f.name], f.type) for f in fields}


def _require(where: Any, raw: Mapping[str, Any], names: Any) -> None:
  """Raise ValueError if a key is missing."""
  missing = [name for name in names if name not in raw]
  if missing:
    raise ValueError(f"{where}: lacks {', '.join(missing)}")


def _number(where: Any, name: str, value: Any, kind: Any) -> Any:
  """Return the value of a key.

  Raises:
    ValueError: it has another type, or is not finite.
  """
  kinds = (int, float) if kind is float else (kind,)
  if type(value) not in kinds:
    raise ValueError(f"{where}: {name} is {value!r}, not a {kinds[-1]}")
  if isinstance(value, float) and not math.isfinite(value):
    raise ValueError(f"{where}: {name} is {value}, not a finite number")
  return value


def _construct(where: Any, kind: Any, **fields: Any) -> Any:
  """Build a dataclass; an error that it raises is prefixed with the file."""
  try:
    return kind(**fields)
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from None
