"""Every figure that the project quotes, one module a group; must never be a timed test."""
