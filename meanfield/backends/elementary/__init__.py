"""exp, tanh, erf and others without branches and calls, for kernels to inline."""
