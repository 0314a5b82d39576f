"""Diagnostics: named numbers of a run's frames, recorded while it runs or computed from its file
afterwards.

The diagnostics themselves stand in library/. The other files find out which of them a run allows
(registry, needs), compute them in parallel, keep their values in a folder next to the file, and
print them (diagnose, compare). Public doors: mf.diagnose and mf.register_diagnostic. This file
imports nothing, so that `import ntk` stays cheap.
"""
