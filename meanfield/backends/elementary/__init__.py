"""exp, tanh, erf and others without branches, and LLVM intrinsics, for kernels to inline."""
