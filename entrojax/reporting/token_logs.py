"""Write and read the tokens of evaluations: tokens/STEP.SET.npz in a run.

STEP is the number of rollout steps before the evaluation, and SET the number of
the evaluation set, from 0. A file holds the tokens of R responses one after the
other, N in all, as arrays of numpy, and everything that is text as one array of
JSON. It holds no pickled object, so reading it runs no code.
"""

from collections.abc import Mapping, Sequence
import io
import json
from pathlib import Path
import re
from typing import Any, NamedTuple
import zipfile
import zlib

import numpy as np

from entrojax.system.workdir import TOKENS_FOLDER

_NAME = re.compile(r"(\d+)\.(\d+)\.npz")


class TokenSamples(NamedTuple):
  """The tokens of R responses to held-out prompts in one evaluation.

  Log-probs and entropies are in nats, at the sampling temperature of the
  evaluation.
  """

  data: str  # the evaluation set, as in val/<data>/...
  step: int  # the optimizer step
  rollout_step: int  # rollout steps so far
  prompts: Sequence[str]  # [R], the prompt of each response
  texts: Sequence[str]  # [R], the responses
  reasons: Sequence[str]  # [R], of their verdicts
  names: Mapping[int, str]  # the text of each token that occurs, by its id
  rewards: np.ndarray  # f32[R]
  advantages: np.ndarray  # f32[R], by the run's rules, within all n samples
  lengths: np.ndarray  # i32[R], tokens, EOS included
  ids: np.ndarray  # i32[N]
  starts: np.ndarray  # i32[N], the token's first character in its text
  log_probs: np.ndarray  # f32[N], under the policy
  entropy: np.ndarray  # f32[N], of the policy
  base_log_probs: np.ndarray  # f32[N], under the base
  base_entropy: np.ndarray  # f32[N], of the base
  top: np.ndarray  # f32[N, K], log-probs of the likeliest tokens, descending
  touched: Mapping[str, np.ndarray]  # bool[N] by member of the objective

  @property
  def ends(self) -> np.ndarray:
    """Return i64[R]: where the tokens of each response end."""
    return np.cumsum(self.lengths, dtype=np.int64)

  def pieces(self, response: int) -> list[str]:
    """Return the text of each token of a response; "" for a special token."""
    end = int(self.ends[response])
    starts = self.starts[end - int(self.lengths[response]) : end].tolist()
    text = self.texts[response]
    stops = [*starts[1:], len(text)]
    return [text[a:b] for a, b in zip(starts, stops, strict=True)]


_TEXT = ("data", "step", "rollout_step", "prompts", "texts", "reasons", "names")
_BY_RESPONSE = {"rewards": "f4", "advantages": "f4", "lengths": "i4"}
_BY_TOKEN = {
  **{"ids": "i4", "starts": "i4", "log_probs": "f4", "entropy": "f4"},
  **{"base_log_probs": "f4", "base_entropy": "f4"},
}


def write_tokens(workdir: Path, number: int, samples: TokenSamples) -> Path:
  """Write the tokens of an evaluation set and return the file.

  Args:
    workdir: the run directory.
    number: the number of the evaluation set, from 0.
    samples: the tokens.
  """
  text = {name: getattr(samples, name) for name in _TEXT}
  text["members"] = list(samples.touched)
  arrays = {
    name: np.asarray(getattr(samples, name), kind)
    for name, kind in (_BY_RESPONSE | _BY_TOKEN).items()
  }
  marks = [np.asarray(marks, bool) for marks in samples.touched.values()]
  shape = (len(marks), len(samples.ids))
  arrays["touched"] = np.array(marks, bool).reshape(shape)
  arrays["top"] = np.asarray(samples.top, "f4")
  arrays["text"] = np.frombuffer(json.dumps(text).encode(), np.uint8)
  content = io.BytesIO()
  np.savez_compressed(content, allow_pickle=False, **arrays)
  folder = workdir / TOKENS_FOLDER
  folder.mkdir(exist_ok=True)
  path = folder / f"{samples.rollout_step}.{number}.npz"
  draft = path.with_suffix(".tmp")
  draft.write_bytes(content.getvalue())
  draft.replace(path)
  return path


def read_tokens(path: Path) -> TokenSamples:
  """Read the tokens of an evaluation set.

  Raises:
    ValueError: the file is damaged; the message has its path.
  """
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    return _from_arrays(arrays)
  except (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError),
    *(RecursionError, zipfile.BadZipFile, zlib.error),
  ) as error:
    raise ValueError(
      f"{path} does not hold the tokens of an evaluation, or is damaged "
      f"({error}): delete it"
    ) from error


def _from_arrays(arrays: Mapping[str, np.ndarray]) -> TokenSamples:
  """Check the arrays of a file and build the samples."""
  text: dict[str, Any] = json.loads(arrays["text"].tobytes())
  members = [str(name) for name in text.pop("members")]
  names = {int(i): str(name) for i, name in text.pop("names").items()}
  lists: dict[str, Any]
  lists = {key: [*map(str, text.pop(key))] for key in _TEXT[3:6]}
  numbers: dict[str, Any] = {
    name: np.asarray(arrays[name], kind)
    for name, kind in (_BY_RESPONSE | _BY_TOKEN).items()
  }
  touched, top = arrays["touched"], np.asarray(arrays["top"], "f4")
  count, lengths = numbers["ids"].size, numbers["lengths"]
  sizes = {len(values) for values in lists.values()}
  sizes |= {numbers[name].size for name in _BY_RESPONSE}
  by_token = {numbers[name].shape for name in _BY_TOKEN} | {top.shape[:1]}
  if sizes != {lengths.size} or by_token != {(count,)}:
    raise ValueError("arrays of different lengths")
  if lengths.min(initial=0) < 0 or lengths.sum() != count:
    raise ValueError("the lengths of responses do not add up")
  if touched.shape != (len(members), count) or top.ndim != 2:
    raise ValueError("arrays of another shape")
  return TokenSamples(
    data=str(text["data"]),
    step=int(text["step"]),
    rollout_step=int(text["rollout_step"]),
    names=names,
    touched=dict(zip(members, touched.astype(bool), strict=True)),
    top=top,
    **lists,
    **numbers,
  )


def token_files(workdir: Path) -> list[Path]:
  """List the files of tokens of a run, by evaluation and by set."""
  files = [
    (int(name[1]), int(name[2]), path)
    for path in (workdir / TOKENS_FOLDER).glob("*.npz")
    if (name := _NAME.fullmatch(path.name))
  ]
  return [path for _, _, path in sorted(files)]


def trim_tokens(workdir: Path, rollout_step: int) -> None:
  """Remove the tokens of evaluations after `rollout_step`; below 0: all."""
  for path in token_files(workdir):
    if int(path.name.partition(".")[0]) > rollout_step:
      path.unlink()


def first_and_last(workdir: Path) -> list[tuple[TokenSamples, TokenSamples]]:
  """Read the first and the last evaluation of each set that has two.

  Raises:
    ValueError: a file is damaged; the message has its path.
  """
  by_set: dict[str, list[Path]] = {}
  for path in token_files(workdir):
    by_set.setdefault(path.name.split(".")[1], []).append(path)
  return [
    (read_tokens(paths[0]), read_tokens(paths[-1]))
    for _, paths in sorted(by_set.items(), key=lambda item: int(item[0]))
    if len(paths) > 1
  ]
