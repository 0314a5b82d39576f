"""Recorded runs held against the lazy limit: laziness, the budget of function change, diagnostics."""
