"""The games of SynLogic: verdicts worked out by hand, one record of each.

A record is what SynLogic writes: a question, an answer and metadata. A name
such as `campsite/touch` is a second record of a game.
"""

import json
import re
import time

import numpy as np
import pytest

from entrojax.tasks import make_task, synlogic
from entrojax.tasks.synlogic_games import RULES, forms
from tests.helpers.paths import ROOT
from tests.tasks.test_synlogic import GAMES, row, write

ZEBRA = {"header": ["House", "Pet"], "rows": [["1", "cat"], ["2", "dog"]]}

METADATA = {
  "arrow_maze": {"maze": [["X", "X", "4"], ["3", "→", "X"], ["X", "X", "X"]]},
  "arrow_maze/left": {"maze": [["X", "1"], ["X", "X"]]},
  "calcudoko": {
    "grid_size": 3,
    "regions": [
      {"cells": ["(1,1)", "(1,2)"], "operator": "*", "target": 2},
      {"cells": ["(1,3)", "(2,3)"], "operator": "÷", "target": 3},
      {"cells": ["(2,1)", "(2,2)"], "operator": "-", "target": 1},
      {"cells": ["(3,1)", "(3,2)"], "operator": "+", "target": 4},
      {"cells": ["(3,3)"], "operator": "+", "target": 2},
    ],
  },
  "calcudoko/diagonal": {
    "grid_size": 2,
    "regions": [{"cells": ["(1,1)", "(2,2)"], "operator": "+", "target": 2}],
  },
  "campsite": {
    "grid": [["T", "X", "X"], ["X", "X", "T"]],
    "row_constraints": [1, 1],
    "col_constraints": [1, 0, 1],
    "n": 2,
    "m": 3,
  },
  "campsite/touch": {
    "grid": [["T", "X", "X"], ["X", "X", "T"]],
    "row_constraints": [1, 1],
    "col_constraints": [0, 2, 0],
  },
  "campsite/one tree": {
    "grid": [["X", "T", "X", "X", "T"]],
    "row_constraints": [2],
    "col_constraints": [1, 0, 1, 0, 0],
  },
  # the left tent must leave its nearer tree to the other one
  "campsite/swap": {
    "grid": [["T", "X", "T", "X"], ["X", "X", "X", "X"]],
    "row_constraints": [2, 0],
    "col_constraints": [0, 1, 0, 1],
  },
  "dyck_language_errors": {"is_valid": False, "first_error_pos": 7},
  "dyck_language_errors/valid": {"is_valid": True, "first_error_pos": None},
  "dyck_language_reasoning_errors": {"error_indices": [3, 10]},
  "dyck_language_reasoning_errors/none": {"error_indices": []},
  "goods_exchange": {"owns_after": "(('Ann','red ball'),('Bob','pen'))"},
  "kukurasu": {"row_sums": [1, 2], "col_sums": [1, 2], "n": 2, "m": 2},
  "math_path": {"query_expr": "?4 + 3 * ? = 29", "ref_expr": "14+3*5=29"},
  "math_path/quotient": {"query_expr": "7 / 3 * ? = 7"},
  "math_path/remainder": {"query_expr": "8 / ? % 3 = 1"},
  "math_path/negative": {"query_expr": "3 - ? = -4"},
  "minesweeper": {"current_mines": [[0, 1], [2, 3]]},
  "norinori": {
    "region_grid": [
      ["A", "A", "A", "A"],
      ["A", "A", "B", "X"],
      ["X", "B", "B", "B"],
    ]
  },
  "number_wall": {
    "grid": [[1, "X", "X"], ["X", "X", "X"], ["X", 3, "X"]],
    "n": 3,
  },
  "number_wall/corner": {"grid": [[1, "X"], ["X", 1]]},
  "skyscraper_puzzle": {
    "n": 3,
    "top": [3, 2, 1],
    "bottom": [1, 2, 2],
    "left": [3, 2, 1],
    "right": [1, 2, 2],
  },
  "star_placement_puzzle": {
    "n": 4,
    "k": 1,
    "region_grid": [list("AAAA"), list("BBBB"), list("CCCC"), list("DDDD")],
  },
  "survo": {
    "original_matrix": [[1, 0, 3], [0, 4, 9], [6, 6, 12]],
    "candidate_numbers": [5, 2],
    "n": 3,
  },
  "time_sequence": {
    "records": {"answers": {"answer_maxLen": 60, "answer_nums": 2}}
  },
  "wordscapes": {
    "grid": [["X", "X", "X"], ["X", "0", "0"], ["X", "0", "0"]],
    "across_words": ["cat"],
    "down_words": ["cow"],
  },
}
ANSWERS = {
  "arc_agi": [[1, 2], [3, 4]],
  "arc_agi_2": [[0, 2], [3, 4]],
  "boolean_expressions": "a,c",
  "buggy_tables": "12.50",
  "buggy_tables/hundreds": "234.56",
  "buggy_tables/thousands": "1234.56",
  "cipher": "[[HELLO WORLD]]",
  "cryptarithm": "123 + 456 = 579",
  "object_counting": "12",
  "object_properties": 17,
  "operation": r"\frac{7}{2}",
  "space_reasoning": "North",
  "space_reasoning_tree": "tom，ann",
  "web_of_lies": "yes, no, yes",
  "web_of_lies/chinese": "是，否",
  "word_sorting": "abe, tof, tok",
  "word_sorting_mistake": "3",
  "word_sorting_mistake/none": None,
  "zebra_puzzle": json.dumps(ZEBRA),
}


def fence(value, kind="python"):
  return f"<think>hm [[0]]</think>\n```{kind}\n{value}\n```"


MAZE = '[["←", "←", "4"], ["3", "→", "↓"], ["↓", "↘", "↓"]]'
DOMINOES = "[[(1,1),(1,2)],[(3,1),(3,2)],[(2,4),(3,4)]]"
WORDS = '[["c", "a", "t"], ["o", "0", "0"], ["w", "0", "0"]]'
BY_HAND = [
  ("arrow_maze", fence(MAZE), "correct"),
  ("arrow_maze", fence(MAZE.replace('"', "'"), ""), "correct"),
  ("arrow_maze", fence(MAZE.replace("↘", "→")), "wrong length"),
  ("arrow_maze", fence(MAZE.replace("→", "←")), "changed a given"),
  ("arrow_maze", fence(MAZE.replace("↘", "0")), "changed a given"),
  ("arrow_maze", fence(MAZE.replace("↘", "X")), "unparseable"),
  ("arrow_maze/left", '[["←", "1"], ["↑", "↑"]]', "arrow on no ray"),
  ("calcudoko", "so [[1 2 3, 2 3 1, 3 1 2]]", "correct"),
  ("calcudoko", "[[2 1 3, 1 3 2, 3 2 1]]", "wrong result"),  # 3 and 2, not 3
  ("calcudoko", "[[1 2 3, 1 2 3, 3 1 2]]", "repeats a digit"),
  ("calcudoko", "[[1 2, 2 1]]", "unparseable"),
  ("calcudoko", "[[12 3, 2 3 1, 3 1 2]]", "no answer"),
  ("calcudoko/diagonal", "[[1 2, 2 1]]", "repeats a digit"),
  ("campsite", '[["T", "X", "C"], ["C", "X", "T"]]', "correct"),
  ("campsite", "[['T', 'C', 'X'], ['X', 'C', 'T']]", "wrong count"),
  ("campsite", "[['X', 'T', 'C'], ['C', 'X', 'T']]", "moved a tree"),
  ("campsite", "[['T', 'X', 'C']]", "unparseable"),
  ("campsite/touch", "[['T','C','X'],['X','C','T']]", "tents touch"),
  ("campsite/one tree", "[['C','T','C','X','T']]", "no match"),
  ("campsite/swap", "[['T','C','T','C'],['X','X','X','X']]", "correct"),
  ("kukurasu", '[["1", "X"], ["X", "1"]]', "correct"),
  ("kukurasu", "[[1, 'X'], ['X', 1]]", "correct"),
  ("kukurasu", '[["X", "1"], ["1", "X"]]', "wrong sum"),
  ("kukurasu", '[["1", "0"], ["0", "1"]]', "unparseable"),
  ("math_path", "[[14 + 3 * 5 = 29]]", "correct"),
  ("math_path", "[[24+3*5=39]]", "changed a given"),
  ("math_path", "[[14+3*4=29]]", "not equal"),
  ("math_path", "[[04+3*5=29]]", "unparseable"),
  ("math_path", "[[14+3+5=29]]", "unparseable"),
  ("math_path/quotient", "[[7/3*3=7]]", "correct"),  # 7 by fractions
  ("math_path/remainder", "[[8/2%3=1]]", "correct"),  # 4 % 3
  ("math_path/remainder", "[[8/0%3=1]]", "not equal"),
  ("math_path/negative", "[[3-7=-4]]", "correct"),
  ("norinori", DOMINOES, "correct"),
  ("norinori", "[(1,1), (1,2)]\n[(3,1), (3,2)], [(2,4), (3,4)]", "correct"),
  ("norinori", f"first [[(1,1),(2,1)]], no: {DOMINOES}", "correct"),
  ("norinori", "[[(3,1),(3,2)],[(2,4),(3,4)]]", "wrong count"),  # A has none
  ("norinori", "[[(1,1),(1,2)],[(2,3),(3,3)]]", "shadow left"),
  ("norinori", DOMINOES.replace("(3,2)", "(2,1)"), "dominoes touch"),
  ("norinori", DOMINOES.replace("(1,2)", "(1,3)"), "no domino"),
  ("norinori", DOMINOES.replace("(1,2)", "(1,0)"), "outside"),
  ("norinori", "none", "no answer"),
  ("number_wall", "[[1,'A','A'],['A','A','X'],['A',3,'X']]", "correct"),
  ("number_wall", "[['1','A','A'],['A','A','X'],['A','3','X']]", "correct"),
  ("number_wall", "[[1,'A','A'],['A','A','A'],['X',3,'X']]", "wall of 2 x 2"),
  ("number_wall", "[[1,'A','X'],['A','A','X'],['A',3,'X']]", "wrong island"),
  ("number_wall", "[[1,'A',1],['A','A','A'],['X',3,'X']]", "changed a given"),
  ("number_wall/corner", "[[1,'A'],['A',1]]", "islands touch"),
  ("skyscraper_puzzle", fence("[[1,2,3],[2,3,1],[3,1,2]]"), "correct"),
  ("skyscraper_puzzle", fence("[[1,3,2],[2,1,3],[3,2,1]]"), "wrong view"),
  ("skyscraper_puzzle", fence("[[1,2,3],[1,2,3],[3,1,2]]"), "repeats a digit"),
  ("skyscraper_puzzle", fence("[[1,2,4],[2,4,1],[4,1,2]]"), "unparseable"),
  (
    "star_placement_puzzle",
    fence("{'A': [(1, 2)], 'B': [(2, 4)], 'C': [(3, 1)], 'D': [(4, 3)]}"),
    "correct",
  ),
  (
    "star_placement_puzzle",
    fence("stars = {'A': [(1, 1)], 'B': [(2, 2)], 'C': [(3,4)], 'D': [(4,3)]}"),
    "stars touch",
  ),
  ("star_placement_puzzle", fence("{'A': [(1, 2)]}"), "wrong count"),
  ("star_placement_puzzle", fence("{'A': [(1, 5)]}"), "outside"),
  ("star_placement_puzzle", fence("{'A': ['x']}"), "no answer"),
  ("survo", fence("[[1, 2, 3], [5, 4, 9], [6, 6, 12]]"), "correct"),
  ("survo", fence("[[1, 5, 3], [2, 4, 9], [6, 6, 12]]"), "wrong sum"),
  ("survo", fence("[[1, 2, 3], [2, 4, 9], [6, 6, 12]]"), "wrong numbers"),
  ("survo", fence("[[1, 2, 3], [5, 4, 9], [6, 6, 13]]"), "changed a given"),
  ("wordscapes", WORDS, "correct"),
  ("wordscapes", WORDS.replace('"0"', '" "').upper(), "correct"),
  ("wordscapes", WORDS.replace('"a"', '"o"'), "missing word"),
  ("wordscapes", WORDS.replace('"o", "0"', '"o", "x"'), "wrong cells"),
  ("arc_agi", fence("[[1, 2],\n [3, 4],]  # done", "json"), "correct"),
  ("arc_agi", fence("[[1, 2], [3, 5]]", "json"), "wrong"),
  ("arc_agi_2", "[[0,2],[3,4]]", "correct"),
  ("boolean_expressions", r"\boxed{C, A}", "correct"),
  ("boolean_expressions", r"\boxed{\text{a and c}}", "wrong"),  # also n, d
  ("boolean_expressions", r"\boxed{\text{a, c}}", "correct"),
  ("boolean_expressions", r"\boxed{a}", "wrong"),
  ("boolean_expressions", "a, c", "no answer"),
  ("buggy_tables", "</think><answer>It is 12.50</answer>", "correct"),
  ("buggy_tables", "12.5", "wrong"),
  ("buggy_tables", "12.50 or 12.51", "wrong"),
  ("buggy_tables/hundreds", "It is 1,234.56", "wrong"),
  ("buggy_tables/hundreds", "[12.50,234.56]", "correct"),
  ("buggy_tables/thousands", "It is 1,234.56", "correct"),
  ("cipher", fence('[["HELLO WORLD"]]'), "correct"),
  ("cipher", "[[HELLO\nWORLD]]", "correct"),
  ("cipher", "[[HELLO]]", "wrong"),
  ("cipher", "HELLO WORLD", "no answer"),
  ("cryptarithm", "1+1=2, so 123+456 = 579.", "correct"),
  ("cryptarithm", "124 + 455 = 579", "wrong"),
  ("cryptarithm", "1" * 100_000 + "=", "no answer"),
  ("dyck_language_errors", "hm</think> <answer> 7 </answer>", "correct"),
  ("dyck_language_errors", "-1", "wrong"),
  ("dyck_language_errors", "at 7", "no answer"),
  ("dyck_language_errors/valid", "-1", "correct"),
  ("dyck_language_errors/valid", "it is invalid", "no answer"),
  ("dyck_language_reasoning_errors", "<answer>10, 3</answer>", "correct"),
  ("dyck_language_reasoning_errors", "[3，10]", "correct"),
  ("dyck_language_reasoning_errors", "3", "wrong"),
  ("dyck_language_reasoning_errors", "steps 3 and 10", "no answer"),
  ("dyck_language_reasoning_errors/none", 'hm</think>""', "correct"),
  ("dyck_language_reasoning_errors/none", "No errors.", "correct"),
  ("dyck_language_reasoning_errors/none", " ", "no answer"),
  ("goods_exchange", fence("(('bob', 'Pen'), ('Ann', 'red ball'))"), "correct"),
  ("goods_exchange", fence("((Ann,red ball),(Bob,pen))"), "correct"),
  ("goods_exchange", fence("(('Ann','pen'),('Bob','red ball'))"), "wrong"),
  ("goods_exchange", "(('Ann','red ball'),('Bob','pen'))", "no answer"),
  ("minesweeper", "[(0, 2)], no, [(2, 3), (0, 1)]", "correct"),
  ("minesweeper", "[[0, 1], [2, 3]]", "correct"),
  ("minesweeper", "(0,1), (2,3)", "correct"),
  ("minesweeper", "[(0, 1)]", "wrong"),
  ("object_counting", r"\boxed{012}", "correct"),
  ("object_counting", r"\boxed{12.5}", "no answer"),
  ("object_properties", r"\boxed{17}", "correct"),
  ("object_properties", r"\boxed{-17}", "wrong"),
  ("operation", r"\boxed{3.5}", "correct"),
  ("operation", r"\boxed{3.49}", "wrong"),
  ("space_reasoning", r"\boxed{ north }", "correct"),
  ("space_reasoning", r"\boxed{south}", "wrong"),
  ("space_reasoning_tree", r"\boxed{Ann, tom}", "wrong"),
  ("space_reasoning_tree", r"\boxed{ann, tom}", "correct"),
  ("time_sequence", "[30, 1] or [60，2]", "correct"),
  ("time_sequence", "[2, 60]", "wrong"),
  ("web_of_lies", "So **no**. The answer is **Yes, no, yes**.", "correct"),
  ("web_of_lies", "the answer is yes, no, yes", "correct"),
  ("web_of_lies", "The answer is **yes, no, no**.", "wrong"),
  ("web_of_lies", "yes, no, yes", "no answer"),
  ("web_of_lies/chinese", "答案是：**是，否**。", "correct"),
  ("word_sorting", r"\boxed{abe,tof, tok}", "correct"),
  ("word_sorting_mistake", r"\boxed{3}", "correct"),
  ("word_sorting_mistake", r"\boxed{no}", "wrong"),
  ("word_sorting_mistake/none", r"\boxed{No}", "correct"),
  ("word_sorting_mistake/none", r"\boxed{none}", "no answer"),
  ("zebra_puzzle", fence(json.dumps(ZEBRA), "json"), "correct"),
  ("zebra_puzzle", str(ZEBRA), "correct"),
  (
    "zebra_puzzle",
    fence(json.dumps(ZEBRA).replace("cat", "cow"), "json"),
    "wrong",
  ),
]


def record(name):
  """Return the record of a game."""
  return {
    "question": "?",
    "answer": ANSWERS.get(name, ""),
    "metadata": METADATA.get(name),
  }


def problem(name, tmp_path):
  """Read the record of a game from a file, as it is published."""
  game = json.dumps(record(name))
  line = row(name.partition("/")[0], extra_info={"game_data_str": game})
  (read,) = synlogic.read(write(tmp_path / "train.jsonl", [line])).problems
  return read


RIGHT = {
  name: response for name, response, reason in BY_HAND if reason == "correct"
}


@pytest.mark.parametrize("name, response, reason", BY_HAND)
def test_a_verdict_is_the_one_worked_out_by_hand(
  name, response, reason, tmp_path
):
  verdict = synlogic.verify(problem(name, tmp_path), response)
  assert verdict.reason == reason
  assert verdict.reward == float(reason == "correct")
  assert (verdict.answer is None) == (reason in ("no answer", "unparseable"))


def test_each_game_has_a_record_here_or_in_the_other_file():
  named = {name.partition("/")[0] for name in METADATA | ANSWERS}
  assert named | set(GAMES) | {"game_of_24"} == set(RULES) | {"mathador"}


@pytest.mark.parametrize("name", RIGHT)
def test_no_other_game_s_right_answer_is_accepted(name, tmp_path):
  read = problem(name, tmp_path)
  game = name.partition("/")[0]
  for other, response in RIGHT.items():
    if other.partition("/")[0] != game:
      assert synlogic.verify(read, response).reward == 0, other


@pytest.mark.parametrize("name", RIGHT)
def test_no_string_raises_or_is_accepted(name, tmp_path):
  read = problem(name, tmp_path)
  rng = np.random.default_rng(0)
  text = RIGHT[name]
  alphabet = sorted({*text, *"[](){},'\"0123456789XATC#*=-\n"})
  for _ in range(300):
    noise = "".join(rng.choice(alphabet, size=rng.integers(1, 200)))
    broken = list(text)
    del broken[rng.integers(len(broken)) :]
    for response in (
      noise,
      fence(noise),
      rf"\boxed{{{noise}}}",
      f"[[{noise}]]",
    ):
      assert synlogic.verify(read, response).reward == 0
    synlogic.verify(read, "".join(broken))


@pytest.mark.parametrize("name", RIGHT)
def test_a_long_response_takes_less_than_a_second_of_a_core(name, tmp_path):
  read = problem(name, tmp_path)
  for text in (
    "[",
    "[[(1,2),",
    "1+1=",
    "# ",
    "**",
    "(a,",
    '"',
    "\\boxed{",
    " ",
  ):
    start = time.process_time()
    verdict = synlogic.verify(read, text * (180_000 // len(text)))
    assert verdict.reward == 0
    assert time.process_time() - start < 1, text


# -- reading -------------------------------------------------------------------

MALFORMED = [
  ("arrow_maze", {"maze": [["Y"]]}, "maze is not a table"),
  ("calcudoko", {"grid_size": 12}, "grid_size 12 is not between 1 and 9"),
  (
    "calcudoko",
    {"regions": [{"cells": ["(4,1)"], "operator": "+", "target": 1}]},
    r"cell '\(4,1\)' is not in the grid",
  ),
  (
    "calcudoko",
    {"regions": [{"cells": ["(1,1)"], "operator": "^", "target": 1}]},
    "operator '\\^' is unknown",
  ),
  ("campsite", {"row_constraints": [1]}, "row_constraints is not a list of 2"),
  ("kukurasu", {"row_sums": 3}, "row_sums is not a list"),
  ("math_path", {"query_expr": "import os"}, "is not an equation"),
  ("math_path", {"query_expr": "1+?"}, "has not one '='"),
  ("norinori", {"region_grid": [["A"], []]}, "region_grid is not a table"),
  ("skyscraper_puzzle", {"left": [1]}, "left is not a list of 3"),
  ("survo", {"original_matrix": [[True]]}, "original_matrix is not a table"),
  ("time_sequence", {"records": {}}, "no 'answers'"),
  ("minesweeper", {"current_mines": [1]}, "game_data_str of a minesweeper"),
]


@pytest.mark.parametrize("name, changes, message", MALFORMED)
def test_a_malformed_record_is_named(name, changes, message, tmp_path):
  game = record(name)
  game["metadata"] = game["metadata"] | changes
  line = row(name, extra_info={"game_data_str": json.dumps(game)})
  path = write(tmp_path / "train.jsonl", [line])
  with pytest.raises(ValueError, match=f"row 0: .*{message}"):
    synlogic.read(path)


def test_an_answer_of_another_form_is_named(tmp_path):
  game = json.dumps(record("object_counting") | {"answer": "a dozen"})
  line = row("object_counting", extra_info={"game_data_str": game})
  path = write(tmp_path / "train.jsonl", [line])
  with pytest.raises(ValueError, match="has not the form of this game"):
    synlogic.read(path)


def test_a_game_in_an_unknown_form_does_not_refuse_the_file(tmp_path):
  other = row("survo", extra_info={"game_data_str": json.dumps(record("?"))})
  path = write(tmp_path / "train.jsonl", [row("sudoku"), *[other] * 20])
  read = synlogic.read(path)
  assert len(read.problems) == 1 and not read.unreadable
  ((name, count),) = read.left_out.items()
  assert count == 20
  assert re.match(r"survo \(.*row 1: .*no 'original_matrix'", name)
  with pytest.raises(ValueError, match="19 of 20 rows cannot be read"):
    synlogic.read(write(path, [row("sudoku"), *[other] * 19]))


@pytest.mark.parametrize("name", ["campsite", "operation", "wordscapes"])
def test_the_output_of_a_generator_is_read(name, tmp_path):
  folder = tmp_path / name / "data" / "n_3"
  folder.mkdir(parents=True)
  line = record(name) | {"difficulty": 1, "gpt_response": ""}
  if name == "wordscapes":  # its generator does not nest the table
    line |= line["metadata"] | {"metadata": {"size": 3}}
  write(folder / "train.jsonl", [line])
  task = make_task("synlogic", folder)
  (read,) = task.load("train")
  assert read.prompt == "?"
  assert task.verify(read, RIGHT[name]).reward == 1


def test_a_generator_s_output_needs_the_name_of_its_game(tmp_path):
  path = write(tmp_path / "train.jsonl", [record("campsite")])
  with pytest.raises(ValueError, match="does not lie in a folder with a game"):
    synlogic.read(path)
  line = record("campsite") | {"data_source": "campsite"}
  assert len(synlogic.read(write(path, [line])).problems) == 1


# -- literals ------------------------------------------------------------------


@pytest.mark.parametrize(
  ("text", "value"),
  [
    ("[(1, 2), (3,),]", [[1, 2], [3]]),
    ("{'a': \"it's\", # one\n 'b': 'a \"b\"',}", {"a": "it's", "b": 'a "b"'}),
    (r"['it\'s', '(,]', \"#\"]".replace('\\"', '"'), ["it's", "(,]", "#"]),
    ("__import__('os')", None),
    ("[1 + 1]", None),
    ("[" * 5_000, None),
    ("[1,", None),
    ("['a", None),
    (r"['a\']", None),
    (r"'a\'", None),
    ('["a', None),
    ('["a\\', None),
  ],
)
def test_a_literal_is_read_as_python_reads_it(text, value):
  assert forms.literal(text) == value


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_that_are_not_closed_take_no_time(quote):
  text = quote + f"\\{quote}" * 8_000
  begin = time.process_time()
  assert forms.literal(text) is None
  # some milliseconds; a square of this length takes a second or more
  assert time.process_time() - begin < 0.3


def test_the_page_names_every_game():
  page = (ROOT / "entrojax/tasks/README.md").read_text()
  section = page.partition("## SynLogic\n")[2].partition("\n## ")[0]
  named = set(re.findall(r"`(\w+)`", section))
  assert set(RULES) - {"game_of_24"} <= named
