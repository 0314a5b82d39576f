"""NVIDIA GPUs: the same kernels as in the cpu folder, under the same names."""
