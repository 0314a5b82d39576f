"""Threads, worker processes, and signals."""
