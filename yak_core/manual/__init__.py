"""The manual world: the test chooses each message, timer, disk effect and metadata call."""
