"""Values as canonical JSON text."""
