"""Many problems planned as one: sweeps, paths in lambda_z and phase diagrams (extra ``sweep``)."""
