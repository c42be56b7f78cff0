"""Encode text as token ids and decode it, with the `tokenizers` package.

A model folder holds `tokenizer.json`, the tokenizer itself, and `config.json`,
whose `eos_token_id` and `pad_token_id` name the tokens that end and pad a row.
The same keys of `generation_config.json`, if it exists, take precedence,
because the token with which a chat model ends its turn is often not the one
with which its base model ends a document. Without a pad token the first EOS
pads. `with_stops` adds tokens that end a response. `end_token` reads the token
that tokenizer_config.json names, which need not be among the others. Text with
a character that has no token raises ValueError.

`character_tokenizer` builds a new tokenizer whose tokens are single characters.
"""

from collections.abc import Iterable, Mapping, Sequence
import itertools
import json
import os
from pathlib import Path
from typing import Any

import tokenizers

from entrojax.system.model_files import file_of

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"  # 0, 1, 2 in a character tokenizer

_LONGEST_CHARACTER = 4  # tokens, one per byte of UTF-8


class Tokenizer:
  """Encodes and decodes text, and names the tokens that end and pad a row.

  Attributes:
    eos_ids: the tokens that end a response, at least one.
    pad_id: the token that fills a row; masks hide it from the model.
    vocab_size: one above the largest id. A model may have more rows than that.
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
    unk_token = getattr(backend.model, "unk_token", None)
    self._unk_id = None if unk_token is None else backend.token_to_id(unk_token)
    if not self.eos_ids:
      raise ValueError("eos_ids is empty: no token would end a response")
    for name, ids in (("EOS", self.eos_ids), ("pad", (pad_id,))):
      for i in ids:
        if not 0 <= i < self.vocab_size or backend.id_to_token(i) is None:
          raise ValueError(f"{name} token {i} is not in the vocabulary")

  def with_stops(self, stops: Sequence[int | str]) -> "Tokenizer":
    """Return this tokenizer with further tokens that end a response.

    Args:
      stops: ids, or texts that are each a single token.

    Raises:
      ValueError: a text is no single token, or an id is not in the vocabulary.
    """
    ids = dict.fromkeys((*self.eos_ids, *map(self.token_id, stops)))
    return Tokenizer(self._backend, eos_ids=tuple(ids), pad_id=self.pad_id)

  def token_id(self, token: int | str) -> int:
    """Return the id of a token that is given by its id or its text.

    A text is encoded, such as a line's end or "<|im_end|>". If that gives
    several tokens, it must be a token as the vocabulary spells it.

    Raises:
      ValueError: a text is no single token, or an id is not in the vocabulary.
    """
    if isinstance(token, int):
      in_range = 0 <= token < self.vocab_size
      is_token = in_range and self._backend.id_to_token(token) is not None
      index = token if is_token else None
    else:
      index = self._encoded_as_one(token)
      if index is None:
        index = self._backend.token_to_id(token)
    if index is None:
      raise ValueError(
        f"{token!r} is not a token of the vocabulary; a token that ends a "
        "response is given by its id or by its whole text"
      )
    return index

  def encode(self, text: str) -> list[int]:
    """Encode a text alone, without BOS and EOS."""
    return self._encode(text, special_tokens=False).ids

  def encode_prompt(self, text: str) -> list[int]:
    """Encode a prompt, with a BOS before it if the tokenizer adds one.

    The BOS is whatever the tokenizer's own post-processor puts before the text.
    An EOS that it puts after the text is left out, as the policy continues the
    text. A text that already begins with the BOS, as many chat templates do,
    gets no second one.
    """
    encoding = self._encode(text, special_tokens=True)
    added = encoding.special_tokens_mask  # 1 = added by the post-processor
    pairs = list(zip(encoding.ids, added, strict=True))
    plain = [i for i, is_added in pairs if not is_added]
    before = [i for i, _ in itertools.takewhile(lambda pair: pair[1], pairs)]
    before = [i for i in before if i not in self.eos_ids]
    return plain if plain[: len(before)] == before else before + plain

  def decode(self, ids: Iterable[int]) -> str:
    """Decode the ids before the first EOS, leaving out special tokens."""
    kept = []
    for i in ids:
      if i in self.eos_ids:
        break
      if i != self.pad_id:
        kept.append(int(i))
    return self._backend.decode(kept, skip_special_tokens=True)

  def decode_with_starts(self, ids: Sequence[int]) -> tuple[str, list[int]]:
    """Decode ids, and locate each token in the text.

    A token that holds only a part of a character starts at that character or
    directly after it. The first EOS and all later tokens start at the end of
    the text. The time is linear in the number of tokens, whatever they are.

    Returns:
      The text of `decode`, and for each id the index of its first character,
      ascending.
    """
    text = self.decode(ids)
    starts: list[int] = []
    # A token's text can depend on the token before it (a leading space) and on
    # the tokens after it (a character of several bytes). So a few are decoded
    # together.
    anchor = read = end = 0
    for i in range(len(ids)):
      starts.append(min(end, len(text)))
      before = self.decode(ids[anchor:read])
      after = self.decode(ids[anchor : i + 1])
      unfinished = (
        after.endswith("\ufffd") and i + 1 - read < _LONGEST_CHARACTER
      )
      if not unfinished:
        end += max(len(after) - len(before), 0)
        anchor, read = read, i + 1
    return text, starts

  def name(self, token: int) -> str:
    """Return what the vocabulary calls a token, such as "<eos>"."""
    return self._backend.id_to_token(int(token)) or f"token {token}"

  def _encode(self, text: str, *, special_tokens: bool) -> tokenizers.Encoding:
    try:
      encoding = self._backend.encode(text, add_special_tokens=special_tokens)
    except Exception as error:  # the package raises bare Exception
      raise self._encoding_error(text) from error
    if self._unk_id is not None and self._unk_id in encoding.ids:
      raise self._encoding_error(text)
    return encoding

  def _encoded_as_one(self, text: str) -> int | None:
    """Return the token that a text is encoded as; None if it is several."""
    try:
      ids = self._encode(text, special_tokens=False).ids
    except ValueError:
      return None
    same = self._backend.decode(ids, skip_special_tokens=False) == text
    return ids[0] if len(ids) == 1 and same else None

  def _encoding_error(self, text: str) -> ValueError:
    """Build an error that names the first character without a token."""
    for character in text:
      try:
        ids = self._backend.encode(character, add_special_tokens=False).ids
        has_token = self._unk_id not in ids
      except Exception:
        has_token = False
      if not has_token:
        return ValueError(
          f"the tokenizer has no token for {character!r} in {text!r}"
        )
    return ValueError(f"the tokenizer cannot encode {text!r}")


def load(folder: str | os.PathLike) -> Tokenizer:
  """Load a tokenizer from `tokenizer.json` and the configs of a model folder.

  If neither config has a pad_token_id, rows are padded with the first EOS. This
  is safe, as masks decide which tokens count.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: a file is malformed, or its ids are not in the vocabulary.
  """
  tokenizer_path = file_of(Path(folder), "tokenizer.json")
  config_path = file_of(Path(folder), "config.json")
  for path in (tokenizer_path, config_path):
    if not path.is_file():
      raise FileNotFoundError(f"{path} does not exist")
  try:
    backend = tokenizers.Tokenizer.from_file(str(tokenizer_path))
  except Exception as error:  # the package raises bare Exception
    raise ValueError(f"{tokenizer_path} is not a tokenizer: {error}") from error
  # a folder may set either, but the arrays of prompts decide on lengths
  backend.no_truncation()
  backend.no_padding()
  source, eos_ids, pad_id = _special_ids(config_path)
  try:
    return Tokenizer(backend, eos_ids=eos_ids, pad_id=pad_id)
  except ValueError as error:
    raise ValueError(f"{source}: {error} of {tokenizer_path}") from error


def end_token(folder: str | os.PathLike) -> str | None:
  """Return eos_token of tokenizer_config.json; None if it names none."""
  path = file_of(Path(folder), "tokenizer_config.json")
  token = _read_object(path).get("eos_token") if path.is_file() else None
  if isinstance(token, dict):
    token = token.get("content")
  return token if isinstance(token, str) else None


def character_tokenizer(characters: Iterable[str]) -> tokenizers.Tokenizer:
  """Build a tokenizer whose tokens are single characters.

  The ids are <pad> 0, <bos> 1, <eos> 2, and then the characters in the order of
  the argument. The tokenizer adds no special token to a text, and it refuses
  other characters. Save it with `.save(path)`.

  Raises:
    ValueError: a string is not a single character, or two are equal.
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


def _special_ids(config_path: Path) -> tuple[Path, tuple[int, ...], int]:
  """Read (the file that names the EOS, eos_ids, pad_id) of a model."""
  generation_path = config_path.with_name("generation_config.json")
  paths = [p for p in (generation_path, config_path) if p.is_file()]
  configs = {path: _read_object(path) for path in paths}
  source, eos = _first_value(configs, "eos_token_id")
  eos_ids = tuple(eos) if isinstance(eos, list) else (eos,)
  if not eos_ids or not all(type(i) is int for i in eos_ids):
    raise ValueError(
      f"{source}: eos_token_id={eos!r} is not an id or a list of ids"
    )
  pad_source, pad_id = _first_value(configs, "pad_token_id")
  pad_id = eos_ids[0] if pad_id is None else pad_id
  if type(pad_id) is not int:
    raise ValueError(f"{pad_source}: pad_token_id={pad_id!r} is not an id")
  return source, eos_ids, pad_id


def _first_value(configs: Mapping[Path, Any], key: str) -> tuple[Path, Any]:
  """Return (file, value) of the first file that sets a key.

  If no file sets it, these are the last file and None.
  """
  for path, config in configs.items():
    if config.get(key) is not None:
      return path, config[key]
  return path, None


def _read_object(path: Path) -> dict[str, Any]:
  try:
    raw = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path} is not valid JSON: {error}") from error
  if not isinstance(raw, dict):
    raise ValueError(f"{path} is not a JSON object")
  return raw


def _vocab_size(backend: tokenizers.Tokenizer) -> int:
  """Return one above the largest id; a vocabulary may have gaps."""
  return 1 + max(backend.get_vocab(with_added_tokens=True).values())
