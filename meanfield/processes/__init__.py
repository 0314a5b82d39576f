"""Processes of the machine, not of probability: threads, workers, Ctrl-C and other signals, folders
of caches.
"""
