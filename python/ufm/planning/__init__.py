"""Planning: sweeps, paths and phase diagrams, and advice for training with imbalanced classes."""
