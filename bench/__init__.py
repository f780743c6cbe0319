"""Timings of ufm beside other solvers; run with ``python -m bench`` from the repository root."""
