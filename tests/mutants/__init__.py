"""Small wrong changes to the science that the tests must notice."""
