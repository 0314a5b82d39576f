"""Kernels of matrices of covariances, in plain Python: meanfield/backends/kernel_files.py says how
they are compiled.
"""
