"""Put a question into the chat template of a model folder.

A chat template is a jinja program that turns a conversation into the text that
the model reads. Here the conversation is the question as the user's turn, after
a system turn if one is given, and the text ends where the model's answer
begins. The template is in chat_template.jinja or, in older folders, under the
key `chat_template` of tokenizer_config.json. It runs in jinja's sandbox: it can
neither reach Python's internals nor change its arguments, and its time and the
length of its text are limited.
"""

from collections.abc import Callable
import ctypes
import datetime
import json
import os
from pathlib import Path
import threading
import time
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox

from entrojax.system.model_files import file_of

DATE = datetime.datetime(2024, 7, 26)  # the date that templates see
SECONDS = 5.0  # that a template may take for one question
MAX_LENGTH = 1_000_000  # characters of a rendered text, beside the question's
_MAX_REPEATED = 100_000  # length of a text or list that a template may repeat
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


def load(
  folder: str | os.PathLike, *, system: str | None = None, **variables: Any
) -> Callable[[str], str]:
  """Load the chat template of a model folder.

  Deviation: a template that asks for today's date gets DATE, on which Llama
  3.1's template falls back, so that a run's prompts do not depend on the day.
  Otherwise the text is the one that transformers renders.

  Args:
    folder: the model folder.
    system: the text of the system's turn; None leaves it to the template.
    **variables: the template's own variables, such as enable_thinking=False
      for Qwen3.

  Returns:
    A function from a question, the user's turn, to the text that the model
    continues with its answer.

  Raises:
    ValueError: the folder has no template, or the template is malformed or
      refuses such a conversation. The message names the file.
  """
  path, source, tokens = _read_template(Path(folder))
  try:
    template = _environment().from_string(source)
  except jinja2.TemplateError as error:
    raise ValueError(f"{path}: not a chat template: {error}") from error

  def chat(question: str) -> str:
    turns = [] if system is None else [{"role": "system", "content": system}]
    turns.append({"role": "user", "content": question})
    try:
      return _render(
        template,
        MAX_LENGTH + len(question),
        messages=turns,
        add_generation_prompt=True,
        tools=None,
        documents=None,
        **tokens,
        **variables,
      )
    except Exception as error:  # the program may raise anything
      raise ValueError(f"{path}: the chat template fails: {error}") from error

  # a template that fails should fail now
  if chat("1 + 1 = ?") == chat("2 + 2 = ?"):
    raise ValueError(
      f"{path}: the chat template ignores the question: two questions give the "
      "same text"
    )
  return chat


def turn_end(folder: str | os.PathLike, **variables: Any) -> str | None:
  """Return what the chat template writes directly after the model's answer.

  Args:
    folder: the model folder.
    **variables: the template's own variables.

  Returns:
    The text up to the first space or line break, such as `<|im_end|>`; None if
    the template has no such text, or refuses a conversation with an answer.

  Raises:
    ValueError: the folder has no template, or it is malformed.
  """
  path, source, tokens = _read_template(Path(folder))
  answer = "4e1c"  # a text that no template writes by itself
  turns = [
    {"role": "user", "content": "1 + 1 = ?"},
    {"role": "assistant", "content": answer},
  ]
  try:
    text = _render(
      _environment().from_string(source),
      MAX_LENGTH,
      messages=turns,
      add_generation_prompt=False,
      tools=None,
      documents=None,
      **tokens,
      **variables,
    )
  except jinja2.TemplateSyntaxError as error:
    raise ValueError(f"{path}: not a chat template: {error}") from error
  except Exception:  # the program may raise anything
    return None
  after = text.rpartition(answer)[2].split()
  return after[0] if after else None


class _Generation(jinja2.ext.Extension):
  """Render what stands between {% generation %} and {% endgeneration %}.

  The tags mark the model's own tokens for training, which is not needed here.
  """

  tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

  def parse(self, parser: Any) -> Any:
    """Return the statements between the tags."""
    next(parser.stream)
    return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _LateError(Exception):
  """A template has taken too long."""

  def __str__(self) -> str:
    return f"it takes more than {SECONDS:g} seconds"


def _render(template: jinja2.Template, length: int, **variables: Any) -> str:
  """Render a template within limits of time and length.

  The time is kept by a timer that raises an exception in this thread, because
  signals reach only the main one.

  Args:
    template: the program.
    length: the most characters of its text.
    **variables: what it reads.

  Raises:
    Exception: whatever the template raises, or it has reached a limit.
  """
  thread, lock = threading.get_ident(), threading.Lock()
  ended = expired = False

  def expire() -> None:
    nonlocal expired
    with lock:
      if not ended:
        expired = True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
          ctypes.c_ulong(thread), ctypes.py_object(_LateError)
        )

  timer = threading.Timer(SECONDS, expire)
  timer.daemon = True
  timer.start()
  try:
    pieces, size = [], 0
    for piece in template.generate(**variables):
      pieces.append(piece)
      size += len(piece)
      if size > length:
        raise ValueError(f"its text is longer than {length} characters")
    return "".join(pieces)
  finally:
    with lock:
      ended = True
    timer.cancel()
    while expired:  # the exception is on its way, or is the one being raised
      expired = False
      time.sleep(0.01)


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
  """A sandbox in which no long text or list is repeated."""

  intercepted_binops = frozenset(["*", "**"])

  def call_binop(
    self, context: Any, operator: str, left: Any, right: Any
  ) -> Any:
    sizes = [len(x) for x in (left, right) if isinstance(x, str | list | tuple)]
    numbers = [x for x in (left, right) if isinstance(x, int)]
    if operator == "**" and numbers:
      raise jinja2.TemplateError("it raises to a power")
    if sizes and numbers and sizes[0] * abs(numbers[0]) > _MAX_REPEATED:
      raise jinja2.TemplateError("it repeats a text too often")
    return super().call_binop(context, operator, left, right)


def _environment() -> _Environment:
  """Build a jinja environment with what transformers offers to templates."""

  def raise_exception(message):
    raise jinja2.TemplateError(message)

  environment = _Environment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.loopcontrols", _Generation],
  )
  environment.globals["strftime_now"] = lambda form: DATE.strftime(form)
  environment.globals["raise_exception"] = raise_exception
  environment.filters["tojson"] = lambda value, indent=None: json.dumps(
    value, ensure_ascii=False, indent=indent
  )
  return environment


def _read_template(folder: Path) -> tuple[Path, str, dict[str, str]]:
  """Return the template's file, its text, and the special tokens by name."""
  config_path, template_path = (
    file_of(folder, "tokenizer_config.json"),
    file_of(folder, "chat_template.jinja"),
  )
  config = _read_config(config_path)
  tokens = {name: _text(config[name]) for name in _SPECIAL if config.get(name)}
  if template_path.is_file():
    return template_path, template_path.read_text(encoding="utf-8"), tokens
  source = config.get("chat_template")
  if isinstance(source, list):  # several templates, each with a name
    templates = [item for item in source if isinstance(item, dict)]
    source = next(
      (t.get("template") for t in templates if t.get("name") == "default"),
      None,
    )
  if not isinstance(source, str):
    raise ValueError(
      f"{folder}: neither chat_template.jinja nor chat_template in "
      "tokenizer_config.json is there, so this is a base model: set "
      "prompt.chat to False and choose a plain prompt.template"
    )
  return config_path, source, tokens


def _read_config(path: Path) -> dict[str, Any]:
  """Read a JSON object; a file that does not exist is an empty one."""
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
  """Return the text of a token: a string, or an object with text and flags."""
  return str(token.get("content") if isinstance(token, dict) else token)
