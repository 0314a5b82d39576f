"""Kernels of a GPU, each in plain Python: kernel_files.py says how they are compiled."""
