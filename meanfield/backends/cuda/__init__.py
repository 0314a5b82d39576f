"""NVIDIA GPUs: the same ideas as in the cpu folder under the same names."""
