"""What Python and numba have no word for, built of LLVM's instructions: see README.md in this
folder.
"""
