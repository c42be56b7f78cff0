"""Claims of the literature, with verdicts from kept results.

verdicts.py    a claim, the effect that tests it, and the verdict
effects.py     the statistics, such as differences of entropy and of pass@k
collapse.py    claims about the fall of entropy, its law and its causes
methods.py     claims about methods that slow the fall or keep coverage
controls.py    claims about methods that hold a target, and about one curve
lab_book.py    claims whose numbers stand in the lab book
all_claims.py  all of them by name
second_base.py the claims again, on the reasoning base
figure.py      the picture of all effects
page.py        the table of verdicts in Markdown
"""
