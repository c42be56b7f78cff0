"""Prompts: plain templates, and the chat templates of model folders."""

import json
import threading

import numpy as np
import pytest

from entrojax.assembly.run import build
from entrojax.data import chat_template, templates
from tests.helpers.system import tiny_config, write_base

pytestmark = pytest.mark.slow

QUESTION = "What is {1 + 1}?\nSay it."  # braces and lines must stay

CHAT_ML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message['content'] }}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
# like Llama 3.1's: a BOS, a date, no tools, trimmed text
DATED = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{{- "Today Date: " + date_string + "\\n" }}
{%- if tools is not none %}{{ raise_exception('no tools') }}{% endif %}
{%- for message in messages %}
    {%- if loop.index0 == 1 %}{% break %}{% endif %}
    {{- '<|' + message['role'] + '|>' + message['content'] | trim }}
{%- endfor %}
{{- {'a': 'é<'} | tojson }}
"""


def write_folder(folder, template=None, **config):
  if template is not None:
    (folder / "chat_template.jinja").write_text(template)
  (folder / "tokenizer_config.json").write_text(json.dumps(config))
  return folder


PLAIN = {
  "none": "Q",
  "qwen_math": (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nQ\n"
    "Please reason step by step, and put your final answer within \\boxed{}."
    "<|im_end|>\n<|im_start|>assistant\n"
  ),
  "qwen_math_drgrpo": (
    "<|im_start|>system\n"
    "Please reason step by step, and put your final answer within \\boxed{}."
    "<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
  ),
  "simple": "Question:\nQ\nAnswer:\nLet's think step by step.\n",
  "dapo": (
    "Solve the following math problem step by step. The last line of your "
    "response should be of the form Answer: $Answer (without quotes) where "
    "$Answer is the answer to the problem.\n\nQ\n\nRemember to put your answer "
    'on its own line after "Answer:".'
  ),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_template_is_the_published_text_around_the_question(name):
  before, after = PLAIN[name].rsplit("Q", 1)
  assert getattr(templates, name)(QUESTION) == before + QUESTION + after


def test_r1_ends_in_an_open_thought_after_the_question():
  text = templates.r1(QUESTION)
  assert text.startswith("A conversation between User and Assistant. The User")
  assert "<answer> answer here </answer>.\nUser: " in text
  assert text.endswith(f"\nUser: {QUESTION}\nAssistant: <think>")


def test_qwen3_without_thinking_begins_after_an_empty_thought():
  text = templates.qwen_math_without_thinking(QUESTION)
  assert text == templates.qwen_math(QUESTION) + "<think>\n\n</think>\n\n"


def test_a_chat_template_ends_where_the_assistant_begins(tmp_path):
  chat = chat_template.load(write_folder(tmp_path, CHAT_ML), system="Be kind.")
  assert chat(QUESTION) == (
    "<|im_start|>system\nBe kind.<|im_end|>\n"
    f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
  )


def test_variables_reach_the_chat_template(tmp_path):
  folder = write_folder(tmp_path, CHAT_ML)
  chat = chat_template.load(folder, enable_thinking=False)
  assert chat("Q").endswith("assistant\n<think>\n\n</think>\n\n")


def test_a_plain_template_may_be_the_user_s_turn(tmp_path):
  chat = chat_template.load(write_folder(tmp_path, CHAT_ML))
  assert f"user\n{templates.dapo('Q')}<|im_end|>" in chat(templates.dapo("Q"))


@pytest.mark.parametrize("bos", ["<s>", {"content": "<s>", "lstrip": False}])
def test_special_tokens_and_a_fixed_date_reach_the_chat_template(bos, tmp_path):
  chat = chat_template.load(write_folder(tmp_path, DATED, bos_token=bos))
  assert chat(" Q ") == ('<s>Today Date: 26 Jul 2024\n<|user|>Q{"a": "é<"}')


@pytest.mark.parametrize(
  "value",
  [
    "{{ messages[0].content }}!",
    [
      {"name": "tool_use", "template": "no"},
      {"name": "default", "template": "{{ messages[0].content }}!"},
    ],
  ],
)
def test_an_older_folder_has_its_template_in_the_tokenizer_s_config(
  value, tmp_path
):
  chat = chat_template.load(write_folder(tmp_path, chat_template=value))
  assert chat("Q") == "Q!"


def test_a_template_in_its_own_file_comes_first(tmp_path):
  own = "own {{ messages[0]['content'] }}"
  folder = write_folder(tmp_path, own, chat_template="older")
  assert chat_template.load(folder)("Q") == "own Q"


@pytest.mark.parametrize(
  ("template", "message"),
  [
    ("{% for %}", "not a chat template"),
    ("{{ raise_exception('no system turn') }}", "fails: no system turn"),
    ("{{ ''.__class__.__mro__ }}", "fails: .*unsafe"),
    ("{{ messages.append(1) }}", "fails: .*unsafe"),
    ("{% for i in range(1000000) %}{% endfor %}", "fails: Range too big"),
    ("{{ 1 / 0 }}", "fails: division by zero"),
    ("{{ 'a' * 10 ** 9 }}", "fails: it raises to a power"),
    ("{{ 'a' * 999999999 }}", "fails: it repeats a text too often"),
    ("{% for i in range(99999) %}{{ 99 * 'ab' }}{% endfor %}", "is longer"),
    ("no question", "ignores the question"),
  ],
)
def test_a_template_that_cannot_be_run_is_named(template, message, tmp_path):
  with pytest.raises(ValueError, match=rf"chat_template\.jinja: .*{message}"):
    chat_template.load(write_folder(tmp_path, template))


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_template_that_runs_on_and_on_is_stopped(
  in_thread, tmp_path, monkeypatch
):
  monkeypatch.setattr(chat_template, "SECONDS", 0.1)
  loop = "{% for i in range(99999) %}"
  folder = write_folder(tmp_path, f"{loop * 3}{'{% endfor %}' * 3}")
  messages = []

  def load():
    try:
      chat_template.load(folder)
    except ValueError as error:
      messages.append(str(error))

  if in_thread:
    thread = threading.Thread(target=load)
    thread.start()
    thread.join(timeout=60)
  else:
    load()
  assert "fails: it takes more than 0.1 seconds" in messages[0]


@pytest.mark.parametrize("config", [{}, {"chat_template": None}])
def test_a_folder_without_a_template_is_named(config, tmp_path):
  folder = write_folder(tmp_path, **config)
  with pytest.raises(ValueError, match=rf"{tmp_path.name}: neither chat_templ"):
    chat_template.load(folder)


def test_a_malformed_tokenizer_config_is_named(tmp_path):
  (tmp_path / "tokenizer_config.json").write_text("{")
  with pytest.raises(ValueError, match=r"tokenizer_config\.json: not JSON"):
    chat_template.load(tmp_path)


@pytest.mark.usefixtures("session_data", "one_device")
def test_a_run_puts_its_prompts_into_the_chat_of_its_base(tmp_path):
  base = write_base(tmp_path / "base")
  write_folder(base, "({{ messages[0].content }})")
  plain, chat = (
    build(
      tiny_config(base, **{"prompt.chat": chat, "rollout.prompt_length": n})
    )
    for chat, n in ((False, 12), (True, 14))
  )
  held_out = plain.evaluation_sets[0].problems[0]
  assert chat.evaluation_sets[0].problems[0] == held_out._replace(
    prompt=f"({held_out.prompt})"
  )
  expected, _ = next(plain.data.stream)
  prompts, _ = next(chat.data.stream)
  np.testing.assert_array_equal(prompts.mask.sum(1), expected.mask.sum(1) + 2)


@pytest.mark.usefixtures("session_data", "one_device")
def test_a_template_that_does_not_exist_is_named(tmp_path):
  base = write_base(tmp_path / "base")
  with pytest.raises(ValueError, match=r"prompt\.template: .*'simple'"):
    build(tiny_config(base, **{"prompt.template": "simpel"}))


@pytest.mark.parametrize("template", [CHAT_ML, DATED])
def test_transformers_renders_the_same_text(template, tmp_path):
  reason = "compares with transformers where it is installed"
  pytest.importorskip("transformers", reason=reason)
  from transformers.utils import chat_template_utils

  turns = [{"role": "user", "content": QUESTION}]
  (expected,) = chat_template_utils.render_jinja_template(
    [turns],
    chat_template=template,
    add_generation_prompt=True,
    bos_token="<s>",
    date_string="26 Jul 2024",
  )[0]
  chat = chat_template.load(write_folder(tmp_path, template, bos_token="<s>"))
  assert chat(QUESTION) == expected
