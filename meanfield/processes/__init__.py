"""Processes of the machine, not of probability: threads, workers, ranks, Ctrl-C and other signals, folders
of caches.
"""
