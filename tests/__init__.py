"""The tests; must never be imported by what they test."""
