"""The codec between values and canonical JSON text."""
