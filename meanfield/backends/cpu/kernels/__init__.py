"""Kernels of the CPU, each in plain Python: kernel_files.py says how they are compiled, plain.py
how they run without a compiler.
"""
