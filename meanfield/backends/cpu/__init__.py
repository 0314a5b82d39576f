"""The CPU: numba kernels, fused for small d, in blocks of matrix products for large d."""
