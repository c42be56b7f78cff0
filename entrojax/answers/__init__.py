"""Final answers: extract them, compare them, cluster them by meaning.

spelling.py extracts and compares answers in mathematics, numbers.py compares
their values, and parts.py their units, names and lists. published_rules.py has
the rules of other codebases. symbolic_equality.py compares formulas by computer
algebra, formula_values.py by their values, and embeddings.py compares free
text. clusters.py groups answers, and agreement.py measures how far the answers
to a prompt agree. process_pool.py runs comparisons that may hang. diversity.py
measures how different texts are, and chooses texts that represent a set.
pass_at_k.py estimates the chance that one of k answers is right.
"""
