"""Metrics of a broker: what is counted while it runs, and the page that Prometheus reads."""
