"""A real broker process."""
