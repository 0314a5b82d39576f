"""Functions of single numbers, in plain Python: activations, losses, kernels of pairs of neurons.
`backends` compiles them.
"""
