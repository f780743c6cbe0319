"""Decisions about a training run: sweeps, advice and reports."""
