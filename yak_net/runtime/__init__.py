"""Code that brokers and clients share: backend, timers, outboxes, settings, traces."""
