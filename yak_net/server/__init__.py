"""One broker on sockets; must never decide what the core decides."""
