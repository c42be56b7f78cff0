"""Text to token ids and back: the `tokenizers` package behind four methods.

A folder of a model holds `tokenizer.json`, the tokenizer itself, and
`config.json`, whose `eos_token_id` and `pad_token_id` say which tokens end and
pad a row.
"""

from collections.abc import Iterable, Sequence
import json
import os
from pathlib import Path

import tokenizers

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"  # 0, 1, 2 in a character tokenizer


class Tokenizer:
  """Encodes and decodes text; knows which tokens end and pad a row.

  Attributes:
    eos_ids: tokens that end a response, at least one.
    pad_id: the token that fills a row; never read by the model.
    vocab_size: ids are below it (a model may have spare rows above).
  """

  def __init__(
    self,
    backend: tokenizers.Tokenizer,
    *,
    eos_ids: Sequence[int],
    pad_id: int,
  ):
    self.eos_ids = tuple(eos_ids)
    self.pad_id = pad_id
    self.vocab_size = _vocab_size(backend)
    self._backend = backend
    unknown = getattr(backend.model, "unk_token", None)
    self._unknown_id = None if unknown is None else backend.token_to_id(unknown)
    if not self.eos_ids:
      raise ValueError("eos_ids is empty: no token would end a response")
    for name, ids in (("EOS", self.eos_ids), ("pad", (pad_id,))):
      for i in ids:
        if i < 0 or backend.id_to_token(i) is None:
          raise ValueError(f"{name} token {i} is not in the vocabulary")

  def encode(self, text: str) -> list[int]:
    """Returns the ids of text alone: no BOS, no EOS."""
    return self._encode(text, special_tokens=False)

  def encode_prompt(self, text: str) -> list[int]:
    """Returns the ids of a prompt, after the BOS of a tokenizer that has one.

    That is whatever the tokenizer's own post-processor puts before the text;
    an EOS that it puts behind is left out, as the policy continues the text.
    """
    ids = self._encode(text, special_tokens=True)
    return ids[:-1] if ids and ids[-1] in self.eos_ids else ids

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text before the first EOS, without special tokens."""
    kept = []
    for i in ids:
      if i in self.eos_ids:
        break
      if i != self.pad_id:
        kept.append(int(i))
    return self._backend.decode(kept, skip_special_tokens=True)

  def _encode(self, text: str, *, special_tokens: bool) -> list[int]:
    try:
      ids = self._backend.encode(text, add_special_tokens=special_tokens).ids
    except Exception as error:  # the package raises bare Exception
      raise self._unknown_text(text) from error
    if self._unknown_id is not None and self._unknown_id in ids:
      raise self._unknown_text(text)
    return ids

  def _unknown_text(self, text: str) -> ValueError:
    """Names the first character that the vocabulary has no token for."""
    for character in text:
      try:
        ids = self._backend.encode(character, add_special_tokens=False).ids
        known = self._unknown_id not in ids
      except Exception:
        known = False
      if not known:
        return ValueError(
          f"the tokenizer has no token for {character!r} in {text!r}"
        )
    return ValueError(f"the tokenizer cannot encode {text!r}")


def load(folder: str | os.PathLike) -> Tokenizer:
  """Reads a tokenizer from `tokenizer.json` and `config.json` of a folder.

  Without a pad_token_id in the config, rows are padded with the first EOS:
  masks say which tokens count.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file is malformed, or its ids are not in the vocabulary.
  """
  tokenizer_path = Path(folder) / "tokenizer.json"
  config_path = Path(folder) / "config.json"
  for path in (tokenizer_path, config_path):
    if not path.is_file():
      raise FileNotFoundError(f"{path} does not exist")
  try:
    backend = tokenizers.Tokenizer.from_file(str(tokenizer_path))
  except Exception as error:  # the package raises bare Exception
    raise ValueError(f"{tokenizer_path} is not a tokenizer: {error}") from error
  eos_ids, pad_id = _special_ids(config_path)
  try:
    return Tokenizer(backend, eos_ids=eos_ids, pad_id=pad_id)
  except ValueError as error:
    raise ValueError(f"{config_path}: {error}") from error


def character_tokenizer(characters: Iterable[str]) -> tokenizers.Tokenizer:
  """Makes a tokenizer of single characters.

  Ids: <pad> 0, <bos> 1, <eos> 2, then the characters in the order given. It
  adds no special token to a text, and refuses a character it does not know.
  Save it with `.save(path)`.
  """
  characters = list(characters)
  if any(len(character) != 1 for character in characters):
    raise ValueError(f"characters={characters} are not single characters")
  if len(set(characters)) != len(characters):
    raise ValueError(f"characters={characters} are not distinct")
  specials = [PAD, BOS, EOS]
  vocabulary = {token: i for i, token in enumerate(specials + characters)}
  tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary))
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(
    tokenizers.Regex(r"[\s\S]"), "isolated"
  )
  tokenizer.decoder = tokenizers.decoders.Fuse()
  tokenizer.add_special_tokens(specials)
  return tokenizer


def _special_ids(config_path: Path) -> tuple[tuple[int, ...], int]:
  """Reads (eos_ids, pad_id) of a model's config."""
  try:
    config = json.loads(config_path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{config_path} is not valid json: {error}") from error
  eos = config.get("eos_token_id") if isinstance(config, dict) else None
  eos_ids = tuple(eos) if isinstance(eos, list) else (eos,)
  if not eos_ids or not all(type(i) is int for i in eos_ids):
    raise ValueError(
      f"{config_path}: eos_token_id={eos!r} is not an id or a list of ids"
    )
  pad_id = config.get("pad_token_id")
  pad_id = eos_ids[0] if pad_id is None else pad_id
  if type(pad_id) is not int:
    raise ValueError(f"{config_path}: pad_token_id={pad_id!r} is not an id")
  return eos_ids, pad_id


def _vocab_size(backend: tokenizers.Tokenizer) -> int:
  """One above the largest id: a vocabulary may have gaps."""
  return 1 + max(backend.get_vocab(with_added_tokens=True).values())
