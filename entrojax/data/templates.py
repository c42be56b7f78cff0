"""Put a question into a prompt template, which gives the text for the model.

The setting prompt.template names one of these functions; `none`, the default,
leaves the question as it is. They take text and return text. The qwen_math
functions write the special tokens of a chat themselves; the others write plain
text. If prompt.chat is set, the chat template of the model folder
(chat_template.py) is applied to their result, as in `chat(dapo(question))`.

The choice of the template alone changes the accuracy of a Qwen2.5-Math base by
tens of points (arXiv 2503.20783), so that a result means little without the
name of its template.
"""

_BOXED = (
  "Please reason step by step, and put your final answer within \\boxed{}."
)


def none(question: str) -> str:
  """Return the question itself."""
  return question


def boxed(question: str) -> str:
  """Build a user's turn that asks for a boxed answer, in plain text."""
  return f"{question}\n{_BOXED}"


def qwen_math(question: str) -> str:
  """Build a Qwen chat whose user asks for a boxed answer.

  As in RLVR-Decomposed (arXiv 2506.01347).
  """
  return _chat_ml("You are a helpful assistant.", f"{question}\n{_BOXED}")


def qwen_math_without_thinking(question: str) -> str:
  """Build `qwen_math` for Qwen3, with a block of thoughts that ends empty.

  As in RLVR-Decomposed (arXiv 2506.01347).
  """
  return qwen_math(question) + "<think>\n\n</think>\n\n"


def qwen_math_drgrpo(question: str) -> str:
  """Build a Qwen chat whose system prompt asks for a boxed answer.

  As in Dr. GRPO (arXiv 2503.20783).
  """
  return _chat_ml(_BOXED, question)


def r1(question: str) -> str:
  """Build a conversation in plain text, for a base model (arXiv 2501.12948).

  The wording is from Dr. GRPO (arXiv 2503.20783). A response ends with the
  closing answer tag.
  """
  return (
    "A conversation between User and Assistant. The User asks a question, and "
    "the Assistant solves it. The Assistant first thinks about the reasoning "
    "process in the mind and then provides the User with the answer. The "
    "reasoning process is enclosed within <think> </think> and answer is "
    "enclosed within <answer> </answer> tags, respectively, i.e., <think> "
    "reasoning process here </think> <answer> answer here </answer>.\n"
    f"User: {question}\n"
    "Assistant: <think>"
  )


def dapo(question: str) -> str:
  """Build a user's turn that asks for a last line "Answer: ...".

  As in DAPO (arXiv 2503.14476). The prompts of DAPO-Math-17k have this text
  already.
  """
  return (
    "Solve the following math problem step by step. The last line of your "
    "response should be of the form Answer: $Answer (without quotes) where "
    "$Answer is the answer to the problem.\n\n"
    f"{question}\n\n"
    'Remember to put your answer on its own line after "Answer:".'
  )


def simple(question: str) -> str:
  """Build a question and the start of an answer, for a base model.

  As in RLVR-Decomposed (arXiv 2506.01347).
  """
  return f"Question:\n{question}\nAnswer:\nLet's think step by step.\n"


def _chat_ml(system: str, user: str) -> str:
  """Build a conversation in ChatML up to the start of the assistant's turn."""
  return (
    f"<|im_start|>system\n{system}<|im_end|>\n"
    f"<|im_start|>user\n{user}<|im_end|>\n"
    "<|im_start|>assistant\n"
  )
