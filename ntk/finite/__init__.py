"""Kernels of networks of finite width: the empirical kernel, the linearised network, curvature."""
