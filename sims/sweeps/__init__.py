"""Sweeps: a file of settings becomes a folder of runs that any number of workers make, then one
table.

plans ──▶ folders ──▶ workers (leases, workplaces) ──▶ indexing, plotting

Workers run on one machine (local_workers) or on a cluster (submission).
"""
