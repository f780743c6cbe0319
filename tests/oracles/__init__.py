"""Independent checks: they know the mathematics and nothing of the package under test."""
