"""Scalar formulas in plain Python: activations, losses, pair kernels. Compiled elsewhere."""
