"""Independent checkers of the families, one in each module.

The module with a family's name defines

    check(prompt, text)  whether a text without spaces at its ends is right,
                         decided slowly, by the prompt and the rules alone
    BY_HAND              rows (problem.answer, response, reason) whose reasons
                         were worked out by hand

and, if the family has a step oracle, `judge(problem, text)`, which returns the
oracle's verdict for each step of a whole response. `check_steps(prompt, text)`
may decide slowly whether each of these steps is right.
"""

import importlib
import pkgutil

CHECKERS = {
  module.name: importlib.import_module(f"{__name__}.{module.name}")
  for module in pkgutil.iter_modules(__path__)
}
