"""Optimal transport: W2 distances, bounds, couplings, potentials, matching of neurons."""
