"""The tokenizer: encoding, decoding, and errors that name the culprit."""

import json

import pytest
import tokenizers

from entrojax.data import tokenizer as tokenizer_lib
from entrojax.tasks.families import countdown

BOS, EOS = 1, 2


def write_folder(folder, config):
  backend = tokenizer_lib.character_tokenizer("ab\n=")
  backend.save(str(folder / "tokenizer.json"))
  (folder / "config.json").write_text(json.dumps(config))
  return folder


@pytest.fixture
def tokenizer(tmp_path):
  folder = write_folder(tmp_path, {"eos_token_id": EOS, "pad_token_id": 0})
  return tokenizer_lib.load(folder)


def test_characters_follow_the_special_tokens(tokenizer):
  assert tokenizer.encode("ab\n=a") == [3, 4, 5, 6, 3]
  assert (tokenizer.eos_ids, tokenizer.pad_id) == ((2,), 0)
  assert tokenizer.vocab_size == 7


def test_text_survives_a_round_trip(tokenizer):
  for text in ("", "a", "b\n\na==", "aaaa"):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_decoding_stops_at_the_end_and_drops_special_tokens(tokenizer):
  assert tokenizer.decode([0, 0, BOS, 3, 4, EOS, 3, 3]) == "ab"
  assert tokenizer.decode([EOS, 3]) == ""


def test_an_unknown_character_is_named(tokenizer):
  with pytest.raises(ValueError, match="no token for 'x' in 'abxa'"):
    tokenizer.encode("abxa")
  with pytest.raises(ValueError, match="no token for 'é'"):
    tokenizer.encode_prompt("é")


def test_an_unknown_token_of_the_vocabulary_is_an_error_too():
  model = tokenizers.models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>")
  backend = tokenizers.Tokenizer(model)
  wrapped = tokenizer_lib.Tokenizer(backend, eos_ids=[1], pad_id=0)
  with pytest.raises(ValueError, match="no token for 'b'"):
    wrapped.encode("b")


def test_a_prompt_starts_with_the_tokenizers_own_bos_and_has_no_eos():
  backend = tokenizer_lib.character_tokenizer("ab")
  backend.post_processor = tokenizers.processors.TemplateProcessing(
    single="<bos> $A <eos>", special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
  )
  wrapped = tokenizer_lib.Tokenizer(backend, eos_ids=[EOS], pad_id=0)
  assert wrapped.encode_prompt("ab") == [BOS, 3, 4]
  assert wrapped.encode("ab") == [3, 4]


def test_several_tokens_may_end_a_response(tmp_path):
  config = {"eos_token_id": [EOS, 6], "pad_token_id": 0}
  tokenizer = tokenizer_lib.load(write_folder(tmp_path, config))
  assert tokenizer.eos_ids == (EOS, 6)
  assert tokenizer.decode([3, 6, 4]) == "a"


def test_a_stop_token_may_be_given_as_the_text_that_it_writes():
  """Byte-level vocabularies spell a line's end as "Ċ"."""
  words = {"a": 0, "Ċ": 1, "é": 2, "Ã": 3, "©": 4, "Ã©": 5}
  backend = tokenizers.Tokenizer(tokenizers.models.BPE(words, [("Ã", "©")]))
  backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  backend.decoder = tokenizers.decoders.ByteLevel()
  backend.add_special_tokens(["<end>"])
  wrapped = tokenizer_lib.Tokenizer(backend, eos_ids=[6], pad_id=6)
  # "é" is two bytes, spelled "Ã©"; the vocabulary's "é" is another byte
  assert wrapped.with_stops(("\n", "é", 0)).eos_ids == (6, 1, 5, 0)
  assert wrapped.with_stops(("Ċ", "<end>")).eos_ids == (6, 1)
  with pytest.raises(ValueError, match="'aa' is not a token"):
    wrapped.token_id("aa")
  for number in (-1, 10**12):
    with pytest.raises(ValueError, match=f"^{number} is not a token"):
      wrapped.token_id(number)


def test_rows_are_padded_with_the_first_eos_if_no_pad_is_set(tmp_path):
  config = {"eos_token_id": [EOS, 6], "pad_token_id": None}
  assert tokenizer_lib.load(write_folder(tmp_path, config)).pad_id == EOS


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_missing_file_is_named(tmp_path, name):
  write_folder(tmp_path, {"eos_token_id": EOS})
  (tmp_path / name).unlink()
  with pytest.raises(FileNotFoundError, match=name):
    tokenizer_lib.load(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
@pytest.mark.parametrize("text", ["{bad", "", "[]"])
def test_a_malformed_file_is_named(tmp_path, name, text):
  write_folder(tmp_path, {"eos_token_id": EOS})
  (tmp_path / name).write_text(text)
  with pytest.raises(ValueError, match=name):
    tokenizer_lib.load(tmp_path)


@pytest.mark.parametrize(
  "eos", [99, -1, 10**12, None, [], "2", [2, None], True]
)
def test_an_eos_that_is_no_token_is_refused(tmp_path, eos):
  write_folder(tmp_path, {"eos_token_id": eos})
  with pytest.raises(ValueError, match=r"config\.json"):
    tokenizer_lib.load(tmp_path)


def test_a_pad_that_is_no_token_is_refused(tmp_path):
  write_folder(tmp_path, {"eos_token_id": EOS, "pad_token_id": 99})
  with pytest.raises(ValueError, match="pad token 99"):
    tokenizer_lib.load(tmp_path)


def test_characters_must_be_single_and_distinct():
  with pytest.raises(ValueError, match="single"):
    tokenizer_lib.character_tokenizer(["ab"])
  with pytest.raises(ValueError, match="distinct"):
    tokenizer_lib.character_tokenizer("aba")


def test_the_characters_of_countdown_encode_its_prompts_and_solutions():
  backend = tokenizer_lib.character_tokenizer(countdown.CHARACTERS)
  wrapped = tokenizer_lib.Tokenizer(backend, eos_ids=[EOS], pad_id=0)
  for text in ("3 5 7 9=24:", "(3+9)*(7-5)", "8/(2-1)*0+46"):
    assert wrapped.decode(wrapped.encode(text)) == text


def write_generation_config(folder, **config):
  (folder / "generation_config.json").write_text(json.dumps(config))


def test_eos_and_pad_of_the_generation_config_take_precedence(tmp_path):
  write_folder(tmp_path, {"eos_token_id": EOS, "pad_token_id": 0})
  write_generation_config(tmp_path, eos_token_id=[5, EOS], pad_token_id=6)
  tokenizer = tokenizer_lib.load(tmp_path)
  assert (tokenizer.eos_ids, tokenizer.pad_id) == ((5, EOS), 6)


def test_a_generation_config_that_names_no_eos_leaves_it_to_the_config(
  tmp_path,
):
  write_folder(tmp_path, {"eos_token_id": EOS, "pad_token_id": 0})
  write_generation_config(tmp_path, temperature=0.6, eos_token_id=None)
  tokenizer = tokenizer_lib.load(tmp_path)
  assert (tokenizer.eos_ids, tokenizer.pad_id) == ((EOS,), 0)


def test_an_eos_of_the_generation_config_that_is_no_token_is_named(tmp_path):
  write_folder(tmp_path, {"eos_token_id": EOS, "pad_token_id": 0})
  write_generation_config(tmp_path, eos_token_id=[EOS, 99])
  with pytest.raises(
    ValueError,
    match=r"generation_config\.json: EOS token 99 .* of .*tokenizer\.json",
  ):
    tokenizer_lib.load(tmp_path)


def test_a_malformed_generation_config_is_named(tmp_path):
  write_folder(tmp_path, {"eos_token_id": EOS})
  (tmp_path / "generation_config.json").write_text("{bad")
  with pytest.raises(ValueError, match=r"generation_config\.json"):
    tokenizer_lib.load(tmp_path)


def with_bos(text="<bos> $A <eos>"):
  backend = tokenizer_lib.character_tokenizer("ab")
  backend.post_processor = tokenizers.processors.TemplateProcessing(
    single=text, special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
  )
  return tokenizer_lib.Tokenizer(backend, eos_ids=[EOS], pad_id=0)


def test_a_prompt_that_begins_with_the_bos_gets_no_second_one():
  assert with_bos().encode_prompt("<bos>ab") == [BOS, 3, 4]
  assert with_bos().encode_prompt("") == [BOS]


def test_an_eos_that_the_text_itself_ends_with_stays():
  assert with_bos().encode_prompt("a<eos>") == [BOS, 3, EOS]
  assert with_bos("<bos> $A").encode_prompt("a<eos>") == [BOS, 3, EOS]


def test_a_folder_s_own_padding_and_truncation_are_ignored(tmp_path):
  write_folder(tmp_path, {"eos_token_id": EOS, "pad_token_id": 0})
  path = str(tmp_path / "tokenizer.json")
  backend = tokenizers.Tokenizer.from_file(path)
  backend.enable_truncation(2)
  backend.enable_padding(length=9)
  backend.save(path)
  assert tokenizer_lib.load(tmp_path).encode("aaaa") == [3, 3, 3, 3]
