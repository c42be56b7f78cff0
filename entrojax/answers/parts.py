r"""Compare answers part by part: names, units, percent signs, lists and sets.

`same_answer` is the equality of the default grader. Two answers are equal if
they have the same spelling (spelling.py), or if all their parts are equal:

    name      an answer may omit `x =`, `f(x) =` or `x \in`, or add it; two
              names must be the same
    unit      an answer may omit a unit, a degree sign or a currency, or add it;
              two units must be the same
    percent   50\% equals 50\%, 50 and 0.5; 50 is not 0.5
    number    equal values; only a rounded gold has a tolerance (numbers.py)
    multiple  a number times \pi, a root or a letter: equal numbers, and the
              same \pi, root or letter
    tuple     (1,2), and intervals and matrices: same brackets, same order
    set       \{1,2\}, or a list such as `1, 2` or `1 or 2`: any order;
              a \pm b stands for two elements
    letter    (B) equals B
    other     same spelling; nothing is computed

A word that changes a value, such as million or dozen, is no unit. A base is
part of the number: 1101_2 is not 1101.
"""

from collections.abc import Callable
import functools
import re
from typing import NamedTuple

from entrojax.answers.formula_values import different_formulas
from entrojax.answers.numbers import number, same_multiple, same_number
from entrojax.answers.spelling import MAX_LENGTH, normalise

MAX_ITEMS = 64  # a list with more items is compared by its spelling only
_MAX_DEPTH = 4  # of lists in lists

# (answer, gold) -> whether two items of a list are equal
SameItem = Callable[["Item", "Item"], bool]


class Item(NamedTuple):
  """One element of an answer, without brackets around it."""

  name: str  # such as x, of `x = 5`; '' without one
  body: str  # in LaTeX, such as 5
  unit: str  # in the singular, such as cm^2; '' without one


class Parts(NamedTuple):
  """An answer cut into its elements."""

  kind: str  # item, set, union, the brackets of a tuple, a matrix's shape
  name: str  # a name in front of the whole, as in (x,y) = (1,2)
  items: "tuple[Item | Parts, ...]"


def same_answer(answer: str, gold: str) -> bool:
  """Return whether an answer equals a gold answer by the rules above."""
  if normalise(answer) == normalise(gold):
    return True
  if max(len(answer), len(gold)) > MAX_LENGTH:
    return False
  return same_parts(split(answer), split(gold), same_item)


def same_parts(answer: Parts, gold: Parts, same: SameItem) -> bool:
  """Return whether two answers have equal parts.

  Args:
    answer: the parts of the answer.
    gold: the parts of the gold answer.
    same: compares two items.
  """
  if answer.name and gold.name and answer.name != gold.name:
    return False
  kinds = {answer.kind, gold.kind}
  if len(answer.items) != len(gold.items) or (
    len(kinds) > 1 and kinds != {"item", "set"}
  ):
    return False
  pairs = _equal_to(same)
  if kinds & {"set", "union"} and _names(answer) == _names(gold):
    return _match(answer.items, gold.items, pairs)
  return all(map(pairs, answer.items, gold.items))


def _equal_to(same: SameItem) -> Callable[[Item | Parts, Item | Parts], bool]:
  """Build the equality of two elements, which may be lists themselves."""

  def equal(a: Item | Parts, b: Item | Parts) -> bool:
    if isinstance(a, Item) and isinstance(b, Item):
      return same(a, b)
    if isinstance(a, Parts) and isinstance(b, Parts):
      return same_parts(a, b, same)
    return False

  return equal


def _names(parts: Parts) -> bool:
  """Return whether several elements have names, so that their order counts.

  `x = 1, y = 2` equals `1, 2`, but not `2, 1`.
  """
  return len({item.name for item in parts.items} - {""}) > 1


def _match(answers, golds, equal) -> bool:
  """Return whether each answer can have a gold answer of its own."""
  left = list(golds)
  for answer in answers:
    index = next((i for i, g in enumerate(left) if equal(answer, g)), None)
    if index is None:
      return False
    del left[index]
  return True


def differ(answer: str, gold: str) -> bool:
  r"""Return whether two answers are certainly different.

  These cheap checks correct known weaknesses of math-verify, which drops bases
  and words such as million, rounds numbers to six digits after the point, and
  takes tuples for sets. Numbers must be equal by the rules of `same_answer`.
  Formulas with other values need no package.
  """
  if max(len(answer), len(gold)) > MAX_LENGTH:
    return False
  for of in (_bases, _factors):
    if of(answer) != of(gold):
      return True
  if different_formulas(answer, gold):
    return True
  return _differ(split(answer), split(gold))


def _differ(answer: Parts, gold: Parts) -> bool:
  kinds = {answer.kind, gold.kind}
  tuples = kinds & {"()", "[]", "(]", "[)", "<>"}
  if tuples and len(kinds) > 1 and "item" not in kinds:
    return True
  if kinds == {"set"}:
    numbers = all(map(_is_number, (*answer.items, *gold.items)))
    equal = _equal_to(same_item)
    return numbers and not (
      len(answer.items) == len(gold.items)
      and _match(answer.items, gold.items, equal)
    )
  if len(answer.items) != len(gold.items):
    return False
  for a, b in zip(answer.items, gold.items, strict=True):
    if isinstance(a, Parts) and isinstance(b, Parts):
      if _differ(a, b):
        return True
    elif _is_number(a) and _is_number(b) and not _equal_to(same_item)(a, b):
      return True
  return False


def _is_number(element: "Item | Parts") -> bool:
  return isinstance(element, Item) and number(element.body) is not None


def _bases(text: str) -> list[str]:
  """Return the bases of the numbers in a text: 2 for 1101_2."""
  return re.findall(r"[0-9A-F]_\(?([0-9]+)", normalise(text).upper())


def _factors(text: str) -> set[str]:
  """Return the words in a text that multiply a number."""
  words = re.findall(r"[a-z]+", text.casefold())
  return {word.removesuffix("s") for word in words} & _FACTORS


def same_item(answer: Item, gold: Item) -> bool:
  """Return whether two elements are equal: their names, units and bodies."""
  if answer.name and gold.name and answer.name != gold.name:
    return False
  if answer.unit and gold.unit and answer.unit != gold.unit:
    return False
  if normalise(answer.body) == normalise(gold.body):
    return True
  if same_number(answer.body, gold.body):
    return True
  if same_multiple(answer.body, gold.body):
    return True
  if answer.unit == "%" and not gold.unit:
    return same_number(f"{answer.body}%", gold.body)
  if gold.unit == "%" and not answer.unit:
    return same_number(answer.body, f"{gold.body}%")
  return False


# -- cutting an answer into parts ---------------------------------------------


@functools.lru_cache(maxsize=4_096)  # a group shares its gold answer
def split(text: str, depth: int = 0) -> Parts:
  """Cut an answer of at most MAX_LENGTH characters into its parts."""
  text = _clean(text)
  elements = _elements(text) if depth < _MAX_DEPTH else [text]
  if 1 < len(elements) <= MAX_ITEMS:
    items = [_element(element, depth) for element in elements]
    name = "" if any(i.name for i in items[1:]) else items[0].name
    if name:
      items[0] = items[0]._replace(name="")
    union = re.search(r"\\cup(?![A-Za-z])|∪", text)
    return Parts("union" if union else "set", name, tuple(items))
  name, text = _take_name(text)
  matrix = _MATRIX.fullmatch(text)
  if matrix:
    return Parts(*_cells(matrix[1], matrix[2]))._replace(name=name)
  brackets, inside = _take_brackets(text)
  if brackets and depth < _MAX_DEPTH:
    elements = _elements(inside)
    if brackets == "()" and len(elements) == 1:
      return split(inside, depth + 1)._replace(name=name)
    if len(elements) <= MAX_ITEMS:
      kind = "set" if brackets == "{}" else brackets
      return Parts(kind, name, tuple(_element(e, depth) for e in elements))
  only = item(text)
  return Parts("item", "", (only._replace(name=name or only.name),))


def _cells(matrix: str, inside: str) -> tuple[str, str, tuple[Item, ...]]:
  """Read the cells of a matrix; its kind holds its brackets and shape."""
  rows = [
    [item(cell) for cell in row.split("&")]
    for row in inside.strip().removesuffix("\\\\").split("\\\\")
  ]
  shape = f"{matrix[0]}{'x'.join(str(len(row)) for row in rows)}"
  return shape, "", tuple(cell for row in rows for cell in row)


def item(text: str) -> Item:
  """Read an element: its name, its body and its unit."""
  name, text = _take_name(text.strip())
  body, unit = take_unit(text)
  letter = re.fullmatch(r"\s*\(([A-Z])\)\s*", body)
  return Item(name, letter[1] if letter else body.strip(), unit)


def take_unit(text: str) -> tuple[str, str]:
  r"""Divide a text such as `5\text{ cm}^2` into 5 and cm^2.

  Returns:
    The text without its unit, and the unit in the singular, '%' for percent;
    '' without one, or if nothing would be left.
  """
  text = re.sub(r"(?<=[^\s.])\.\Z", "", text.strip())
  match = _SIGN.search(text) or _UNIT.search(text) or _WORD.search(text)
  if not match or not text[: match.start()].strip(" ~\\"):
    match = None
  if match:
    unit = _unit(match["unit"], match.groupdict().get("power") or "")
    body = text[: match.start()].strip()
    if unit and re.search(r"[0-9})\w]\Z|\\[a-z]+\Z", body):
      return re.sub(r"\A\\?\$", "", body), unit
  price = _PRICE.fullmatch(text)
  if price:
    return price[1] + price[3], _CURRENCIES[price[2]]
  return text, ""


def _unit(words: str, power: str) -> str:
  """Return a unit in the singular; '' if the words are no unit."""
  words = re.sub(r"\\[,;:! ]|[~.]", " ", words)
  words = " ".join(words.split())
  if len(words) == 1 and words.isupper() and words != "L":
    return ""  # M is a million, and m is a metre
  words = words.casefold()
  if words in _SIGNS:
    return _SIGNS[words]
  tokens = words.split()
  if not tokens or not _NO_UNIT.isdisjoint(tokens) or re.search(r"\d", words):
    return ""
  if len(words) == 1 and words not in _SHORT:
    return ""
  for prefix, number_ in (("square", "2"), ("sq", "2"), ("cubic", "3")):
    if tokens[0] == prefix and len(tokens) > 1:
      tokens, power = tokens[1:], number_
  singular = [_SINGULAR.get(t) or _stem(t) for t in tokens]
  exponent = re.sub(r"[^0-9]", "", power)
  return " ".join(singular) + (f"^{exponent}" if exponent else "")


def _stem(word: str) -> str:
  """Remove the s of a plural."""
  return word[:-1] if len(word) > 3 and word[-1] == "s" else word


def _take_name(text: str) -> tuple[str, str]:
  """Divide `x = 5` into x and 5; the name of `5` is ''."""
  match = _NAME.match(text)
  if not match or re.match(r"\s*=", text[match.end() :]):
    return "", text
  return normalise(match[1]), text[match.end() :].strip()


def _take_brackets(text: str) -> tuple[str, str]:
  """Return the brackets around the whole text, and the text inside them."""
  text = text.strip()
  opening = "\\{" if text.startswith("\\{") else text[:1]
  if opening not in _BRACKETS:
    if opening == "\\" and (angle := _ANGLE.fullmatch(text)):
      return "<>", angle[1]
    return "", text
  depth = 0
  for match in _BRACKET.finditer(text):
    depth += 1 if match[0] in _BRACKETS else -1
    if depth == 0:
      if match.end() < len(text):
        return "", text
      closing = match[0]
      inside = text[len(opening) : match.start()]
      return opening.strip("\\") + closing.strip("\\"), inside
  return "", text


def _elements(text: str) -> list[str]:
  r"""Cut a text at its commas, `or`, `and` and \cup outside all brackets."""
  elements, begin, depth = [], 0, 0
  for match in _SEPARATOR.finditer(text):
    if match[0] in _BRACKETS or match[0] == "{":
      depth += 1
    elif match[0] in _CLOSING:
      depth -= 1
    elif depth == 0 and match["cut"]:
      elements.append(text[begin : match.start()])
      begin = match.end()
  elements = [e for e in (*elements, text[begin:]) if e.strip()]
  both: list[str] = []
  for element in elements:
    if len(re.findall(r"\\pm(?![A-Za-z])|±", element)) == 1:
      left, _, right = re.sub(r"\\pm(?![A-Za-z])", "±", element).partition("±")
      plus = "+" if left.strip().rpartition("=")[2] else ""
      both += [f"{left}{plus}{right}", f"{left}-{right}"]
    else:
      both.append(element)
  return both or [text]


def _element(text: str, depth: int) -> Item | Parts:
  """Read an element of a list, which may be a list itself."""
  parts = split(text, depth + 1)
  only = parts.items[0] if parts.kind == "item" else parts
  return only if isinstance(only, Item) else parts


def _clean(text: str) -> str:
  """Remove what only sets the size, the space or the delimiters of formulas."""
  for pattern, new in _CLEAN:
    text = pattern.sub(new, text)
  return text.strip()


_BRACKETS = ("(", "[", "\\{")
_CLOSING = (")", "]", "\\}", "}")
_BRACKET = re.compile(r"\\[{}]|[()\[\]]")
_ANGLE = re.compile(r"\\langle(?![A-Za-z])(.*)\\rangle", re.DOTALL)
_SEPARATOR = re.compile(
  r"(?P<cut>\s*(?:[,;]|\\cup(?![A-Za-z])|∪"
  r"|\\(?:text|mbox|textrm|mathrm)\s*\{\s*,?\s*(?:or|and)\s*\}"
  r"|(?<![A-Za-z\\])(?:or|and)(?![A-Za-z]))\s*)"
  r"|\\[{}]|[()\[\]{}]"
)
_MATRIX = re.compile(
  r"\\begin\{([pbvBV]?matrix)\}(.*)\\end\{\1\}\s*", re.DOTALL
)
_LETTER = r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|theta|phi|lambda|mu|omega))"
_SYMBOL = rf"{_LETTER}'?(?:_(?:\w|\{{\w{{1,8}}\}}))?"
_NAME = re.compile(
  rf"\s*({_SYMBOL}(?:\s*\(\s*{_SYMBOL}\s*\))?"
  rf"|\(\s*{_SYMBOL}(?:\s*,\s*{_SYMBOL}){{1,4}}\s*\))\s*(?:=|\\in(?![A-Za-z]))"
)
_SIGN = re.compile(
  r"\s*(?P<unit>\^\s*\{\s*\\circ\s*\}|\^\s*\\circ|\\degree|°|\\?%|[€£¥₹])"
  r"\s*\Z"
)
_PRICE = re.compile(
  r"([+-]?)\s*(\\\$|\\pounds(?![A-Za-z])|[€£¥₹])\s*(.+)", re.DOTALL
)
_CURRENCIES = {
  **{r"\$": "dollar", r"\pounds": "pound", "€": "euro", "£": "pound"},
  **{"¥": "yen", "₹": "rupee"},
}
_UNIT = re.compile(
  r"(?:\s|~|\\[,;:! ]|\\q?quad)*\\(?:text|mbox|textrm|mathrm|rm|textbf|textit)"
  r"\s*\{(?P<unit>[^{}]*)\}\s*(?P<power>\^\s*(?:\{\s*[23]\s*\}|[23]))?\s*\Z"
)
_SIGNS = {
  **dict.fromkeys((r"\%", "%", "percent", "per cent"), "%"),
  **dict.fromkeys((r"^\circ", r"^{\circ}", r"\degree", "°"), "degree"),
  **_CURRENCIES,
}


def _words(text: str) -> frozenset[str]:
  return frozenset(text.split())


# words that change the value, or that connect two answers
_NO_UNIT = _words(
  "hundred thousand million billion trillion dozen score half halves "
  "hundreds thousands millions billions trillions dozens scores tens third "
  "thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh "
  "sevenths eighth eighths ninth ninths tenth tenths twelfth twelfths "
  "sixteenth sixteenths twentieth twentieths hundredth hundredths thousandth "
  "thousandths negative below or and not no more less than at least most about "
  "between mod modulo if for when where remainder r pi i e x y z n k infinity "
  "undefined other none of base binary octal hexadecimal squared cubed "
  "factorial plus minus times over power"
)
_FACTORS = _words("hundred thousand million billion trillion dozen score half")
_SHORT = _words("m g s h l") - _NO_UNIT
_SINGULAR = {
  **dict.fromkeys(("cms", "centimeters", "centimetres", "centimeter"), "cm"),
  **dict.fromkeys(("meters", "metres", "meter", "metre"), "m"),
  **dict.fromkeys(("kilometers", "kilometres", "kilometer", "kms"), "km"),
  **dict.fromkeys(("millimeters", "millimetres", "millimeter"), "mm"),
  **dict.fromkeys(("in", "inches", "inch"), "inch"),
  **dict.fromkeys(("ft", "feet", "foot"), "foot"),
  **dict.fromkeys(("hr", "hrs", "h", "hours", "hour"), "hour"),
  **dict.fromkeys(("min", "mins", "minutes", "minute"), "minute"),
  **dict.fromkeys(("sec", "secs", "s", "seconds", "second"), "second"),
  **dict.fromkeys(("lb", "lbs", "pounds", "pound"), "pound"),
  **dict.fromkeys(("kg", "kilograms", "kilogram"), "kg"),
  **dict.fromkeys(("g", "grams", "gram"), "g"),
  **dict.fromkeys(("sq", "square", "squares"), "square"),
  **dict.fromkeys(("deg", "degrees", "degree"), "degree"),
  **dict.fromkeys(("usd", "dollars", "dollar"), "dollar"),
}
# units that may stand behind a number without \text
_WORDS = _words(
  "cm mm km kg ft feet foot inches inch yards yard miles mile meters "
  "meter metres metre centimeters kilometers mph km/h m/s hours hour minutes "
  "minute seconds second days day weeks week months month years year dollars "
  "dollar cents cent degrees degree percent points point units unit pounds "
  "ounces gallons liters litres students people ways"
)
_WORD = re.compile(
  r"(?<=[0-9)}\s])\s*(?P<unit>(?:(?:square|sq|cubic)\.?\s+)?"
  rf"(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))}))"
  r"\s*(?P<power>\^\s*(?:\{\s*[23]\s*\}|[23]))?\s*\Z",
  re.IGNORECASE,
)
_CLEAN = tuple(
  (re.compile(pattern), new)
  for pattern, new in (
    (r"\\(?:left|right|big|Big|bigg|Bigg)[lr]?(?![A-Za-z])\s*", ""),
    (r"\\displaystyle(?![A-Za-z])|\\!|(?<!\\)\$", ""),
    (r"(?<!\\)\\[()\[\]]", " "),
    (r"\A\s*\\(?:text|mbox|textbf|mathrm|mathbf)\s*\{([^{}]*)\}\s*\Z", r"\1"),
    (r"\A(.*[^.\s])\.\s*\Z", r"\1"),
    (r"(?<![0-9.,(\[{])([0-9]{1,3})\{,\}(?=[0-9]{3})", r"\1"),
    (r"\{,\}", ""),
    # thousands, unless brackets or braces make a tuple or a set of them
    (
      r"\A(?!.*(?:[()\[\]]|\\\{))[\s\S]*\Z",
      lambda m: re.sub(
        r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])",
        lambda n: n[0].replace(",", ""),
        m[0],
      ),
    ),
  )
)
