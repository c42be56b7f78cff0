r"""SynLogic's games whose record holds the only right answer.

Each has a function that spells an answer in one way. The recorded answer and
the answer of a response are spelled by it and compared. They are equal or not:
nothing is rounded, and no part of an answer counts by itself.

Deviation: the published verifier of `dyck_language_errors` takes every text
with the word "valid" for -1, also "invalid". The one of `minesweeper` joins the
lists of a whole response. Here an answer must be a number, and the last list
counts.
"""

from collections.abc import Callable
import re

from entrojax.answers import parts, spelling
from entrojax.tasks.synlogic_games import forms
from entrojax.tasks.synlogic_games.forms import Extract, Game, Rules
from entrojax.types import Problem, Verdict, Verifier


def _equal(problem: Problem, text: str) -> Verdict:
  if text == problem.answer["solution"]:
    return Verdict(1.0, "correct", text)
  return Verdict(0.0, "wrong", text)


def _equal_value(problem: Problem, text: str) -> Verdict:
  """Compare two values as the grader math/boxed does."""
  right = parts.same_answer(text, problem.answer["solution"])
  reason = "correct" if right else "wrong"
  return Verdict(float(right), reason, spelling.normalise(text))


def _rules(
  gold: Callable[[Game], str | None],
  extract: Extract,
  verify: Verifier = _equal,
) -> Rules:
  """Build the rules of a game.

  Args:
    gold: spells the recorded answer; None if it cannot be read.
    extract: spells the answer of a response.
    verify: compares both.
  """

  def read(game: Game) -> dict:
    solution = gold(game)
    if solution is None:
      raise forms.UnreadableError("its answer has not the form of this game")
    return {"solution": solution}

  return Rules(read, extract, verify)


def _recorded(spell: Extract) -> Callable[[Game], str | None]:
  """Build the function that spells the field `answer` of a record."""
  return lambda game: spell(_text(game["answer"]))


def _text(answer: object) -> str:
  return answer if isinstance(answer, str) else forms.written(answer) or ""


# -- answers in a box ----------------------------------------------------------


def _integer(text: str) -> str | None:
  match = re.fullmatch(r"\s*(-?)0*([0-9]{1,30})\s*", text)
  return None if match is None else match[1] + match[2]


def _letters(text: str) -> str | None:
  """Spell a choice of options, such as `B, A`, as `ab`."""
  text = text.lower().replace(r"\text", "")
  if not re.fullmatch(r"[a-z\s,，、;.(){}]+", text):
    return None
  return "".join(sorted(set(re.findall("[a-z]", text)))) or None


def _word(text: str) -> str | None:
  return " ".join(text.lower().split()) or None


def _set_of_words(text: str) -> str | None:
  words = "".join(text.replace("，", ",").split()).split(",")
  return ",".join(sorted(set(words))) or None


def _sorted_words(text: str) -> str | None:
  """Remove white space and replace full-width commas."""
  return "".join(text.replace("，", ",").split()) or None


def _place_of_mistake(text: str) -> str | None:
  """Spell the number of a step, or `no`."""
  return _integer(text) or ("no" if text.strip().lower() == "no" else None)


def _mistake_recorded(game: Game) -> str | None:
  answer = game["answer"]
  return _place_of_mistake("no" if answer is None else _text(answer))


# -- answers in the last words -------------------------------------------------


def _truths(text: str) -> str | None:
  """Spell `Yes, no` or `是，否` as `yes,no`."""
  text = text.lower().replace("不是", " no ").replace("否", " no ")
  text = text.replace("是", " yes ")
  return ",".join(re.findall(r"\b(?:yes|no)\b", text)) or None


def _extract_truths(response: str) -> str | None:
  """Spell the last bold text, otherwise the text after `answer is`."""
  text = forms.after_thinking(response)
  bold = text.split("**")[1::2]
  if bold:
    return _truths(bold[-1])
  ends = [m.end() for m in re.finditer("answer is|答案是", text)]
  return _truths(text[ends[-1] :]) if ends else None


def _equation(text: str) -> str | None:
  """Spell the last equation between numbers, without spaces."""
  *_, last = [None, *_EQUATION.findall(text)]
  return last and "".join(last.split())


_EQUATION = re.compile(
  r"(?<![0-9])[0-9]{1,30}(?: {0,3}[+*-] {0,3}[0-9]{1,30}){1,20}"
  r" {0,3}= {0,3}-?[0-9]{1,30}"
)


def _two_decimals(text: str) -> str | None:
  """Spell the last number with two decimals, otherwise the whole answer."""
  numbers = [number.replace(",", "") for number in _DECIMAL.findall(text)]
  return (numbers or [text.strip()])[-1] or None


_DECIMAL = re.compile(
  r"(?<![0-9])-?(?:[0-9]{1,3}(?:,[0-9]{3}){1,9}|[0-9]{1,30})\.[0-9]{2}(?![0-9])"
)


def _error_recorded(game: Game) -> str | None:
  metadata = game["metadata"]
  if metadata["is_valid"]:
    return "-1"
  return _integer(str(metadata["first_error_pos"]))


def _steps(text: str) -> str | None:
  """Spell the numbers of wrong steps, `10, 3`, as `3,10`, or as `none`."""
  text = "".join(text.replace("，", ",").split()).lower().removesuffix(".")
  if text in _NO_ERRORS:
    return "none"
  text = text.strip("[]\"'")
  if not re.fullmatch(r"[0-9]{1,4}(?:,[0-9]{1,4})*", text):
    return None
  return ",".join(map(str, sorted({int(n) for n in text.split(",")})))


_NO_ERRORS = frozenset(
  {"", '""', "''", "[]", "no", "noerror", "noerrors", "nomistakes"}
  | {"allcorrect", "无问题", "无错误"}
)


def _steps_recorded(game: Game) -> str | None:
  return _steps(",".join(map(str, game["metadata"]["error_indices"])))


def _extract_steps(response: str) -> str | None:
  """Spell the steps of an answer; it may be empty, but the response may not."""
  return _steps(forms.after_thinking(response)) if response.strip() else None


def _meetings_recorded(game: Game) -> str | None:
  answers = game["metadata"]["records"]["answers"]
  return f"{int(answers['answer_maxLen'])},{int(answers['answer_nums'])}"


def _meetings(text: str) -> str | None:
  """Spell the last list of two integers."""
  lists = re.findall(r"\[\s*([0-9]{1,9})\s*[,，]\s*([0-9]{1,9})\s*\]", text)
  return ",".join(str(int(n)) for n in lists[-1]) if lists else None


# -- answers that are lists ----------------------------------------------------


def _cipher(text: str) -> str | None:
  """Spell `[["TEXT"]]` as `TEXT`."""
  inside = forms.double_brackets(text)
  return inside and (" ".join(inside.strip("[]\"' ").split()) or None)


def _value(text: str) -> str | None:
  """Spell a grid or a dict; its texts and numbers must be the recorded ones."""
  return forms.written(forms.value(text))


def _owners(text: str) -> str | None:
  """Spell ((person, thing), ...) as sorted pairs, whatever the case."""
  if len(text) > forms.MAX_ANSWER_LENGTH:
    return None
  owned = {
    person.strip("\"' ").lower(): thing.strip("\"' ").lower()
    for person, thing in re.findall(r"\(([^(),]+),([^(),]+),?\)", text)
  }
  return forms.written(sorted(owned.items())) if owned else None


def _extract_owners(response: str) -> str | None:
  text = forms.python_fence(forms.after_thinking(response))
  return None if text is None else _owners(text)


def _owners_recorded(game: Game) -> str | None:
  return _owners(game["metadata"]["owns_after"])


def _mines_recorded(game: Game) -> str | None:
  mines = {(int(i), int(j)) for i, j in game["metadata"]["current_mines"]}
  return forms.written(sorted(mines))


def _mines(response: str) -> str | None:
  """Spell the last list of (row, column), otherwise all of an answer."""
  text = "".join(forms.after_thinking(response).split())
  *_, last = [text, *(m[0] for m in _LIST_OF_CELLS.finditer(text))]
  mines = {(int(i), int(j)) for i, j in re.findall(forms.PAIR, last)}
  return forms.written(sorted(mines)) if mines else None


_LIST_OF_CELLS = re.compile(rf"\[(?:{forms.PAIR},?)+\]")


def _answer(spell: Extract) -> Extract:
  """Build the function that spells what stands after the thinking."""
  return lambda response: spell(forms.after_thinking(response))


def _in_a_box(spell: Extract) -> Rules:
  return _rules(_recorded(spell), forms.boxed_as(spell))


def _at_the_end(spell: Extract) -> Rules:
  return _rules(_recorded(spell), _answer(spell))


RULES = {
  "arc_agi": _at_the_end(_value),
  "arc_agi_2": _at_the_end(_value),
  "boolean_expressions": _in_a_box(_letters),
  "buggy_tables": _at_the_end(_two_decimals),
  "cipher": _at_the_end(_cipher),
  "cryptarithm": _at_the_end(_equation),
  "dyck_language_errors": _rules(_error_recorded, _answer(_integer)),
  "dyck_language_reasoning_errors": _rules(_steps_recorded, _extract_steps),
  "goods_exchange": _rules(_owners_recorded, _extract_owners),
  "minesweeper": _rules(_mines_recorded, _mines),
  "object_counting": _in_a_box(_integer),
  "object_properties": _in_a_box(_integer),
  "operation": _rules(
    _recorded(lambda text: text.strip() or None),
    forms.boxed_as(lambda text: text),
    _equal_value,
  ),
  "space_reasoning": _in_a_box(_word),
  "space_reasoning_tree": _in_a_box(_set_of_words),
  "time_sequence": _rules(_meetings_recorded, _answer(_meetings)),
  "web_of_lies": _rules(_recorded(_truths), _extract_truths),
  "word_sorting": _in_a_box(_sorted_words),
  "word_sorting_mistake": _rules(
    _mistake_recorded, forms.boxed_as(_place_of_mistake)
  ),
  "zebra_puzzle": _at_the_end(_value),
}
