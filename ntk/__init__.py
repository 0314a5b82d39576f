"""The lazy limit: tangent kernels of the networks that `meanfield` simulates."""
