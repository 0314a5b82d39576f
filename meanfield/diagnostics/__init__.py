"""Diagnostics: named numbers of a run's frames, recorded while it runs or computed from its file afterwards.

registry → frame, needs → measures, movement, kernels, patterns, directions, errors → stored → cache → jobs → computing →
diagnosis. Public doors: mf.diagnose and mf.register_diagnostic. This file imports nothing, so that `import ntk` stays cheap.
"""
