"""The chat template of a model folder: a question to the text of a turn.

A template is a jinja program in chat_template.jinja or, in older folders, under
`chat_template` of tokenizer_config.json. It runs in jinja's sandbox: it can
neither reach Python's internals nor change what it is given.
"""

from collections.abc import Callable
import json
import os
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox

_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


def load(
  folder: str | os.PathLike, *, system: str | None = None, **variables: Any
) -> Callable[[str], str]:
  """Returns question -> the text that the model continues with its answer.

  Deviation: transformers tells a template today's date; here none is told, and
  templates that ask (Llama 3.1) fall back on a fixed one, so that a run's
  prompts do not depend on the day.

  Args:
    folder: of the model.
    system: the system's turn; None leaves it to the template.
    **variables: of the template, such as enable_thinking=False for Qwen3.

  Raises:
    ValueError: the folder has no template, or one that is malformed or refuses
      such a conversation; the message names the file.
  """
  path, source, tokens = _source(Path(folder))
  try:
    template = _environment().from_string(source)
  except jinja2.TemplateError as error:
    raise ValueError(f"{path}: not a chat template: {error}") from error

  def chat(question: str) -> str:
    turns = [] if system is None else [{"role": "system", "content": system}]
    turns.append({"role": "user", "content": question})
    try:
      return template.render(
        messages=turns,
        add_generation_prompt=True,
        tools=None,
        documents=None,
        **tokens,
        **variables,
      )
    except Exception as error:  # whatever a program in a folder may raise
      raise ValueError(f"{path}: the chat template fails: {error}") from error

  chat("1 + 1 = ?")  # what is wrong with it is said now
  return chat


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
  """Returns the language that transformers' templates are written in."""

  def raise_exception(message):
    raise jinja2.TemplateError(message)

  environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.loopcontrols"],
  )
  environment.globals["raise_exception"] = raise_exception
  environment.filters["tojson"] = lambda value, indent=None: json.dumps(
    value, ensure_ascii=False, indent=indent
  )
  return environment


def _source(folder: Path) -> tuple[Path, str, dict[str, str]]:
  """Returns the template's file, its text and the special tokens by name."""
  config_path, template_path = (
    folder / "tokenizer_config.json",
    folder / "chat_template.jinja",
  )
  config = _read_config(config_path)
  tokens = {name: _text(config[name]) for name in _SPECIAL if config.get(name)}
  if template_path.is_file():
    return template_path, template_path.read_text(encoding="utf-8"), tokens
  source = config.get("chat_template")
  if isinstance(source, list):  # several, by name
    named = [item for item in source if isinstance(item, dict)]
    source = next(
      (i.get("template") for i in named if i.get("name") == "default"), None
    )
  if not isinstance(source, str):
    raise ValueError(
      f"{folder}: neither chat_template.jinja nor chat_template of "
      "tokenizer_config.json is there: a base model takes plain templates"
    )
  return config_path, source, tokens


def _read_config(path: Path) -> dict[str, Any]:
  if not path.is_file():
    return {}
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(f"{path}: not JSON: {error}") from error
  if not isinstance(config, dict):
    raise ValueError(f"{path}: not a JSON object")
  return config


def _text(token: Any) -> str:
  """A token is its text, or an object with its text and flags."""
  return str(token.get("content") if isinstance(token, dict) else token)
