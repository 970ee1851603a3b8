"""The tests of YAK."""
