"""What is known in closed form: thresholds and limits of the model."""
