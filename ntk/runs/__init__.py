"""Runs looked at from the lazy limit: laziness, the budget of function change, diagnostics."""
