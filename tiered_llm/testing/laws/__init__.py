"""Suites of laws: what an implementation of your own must hold to be put in place of ours."""
