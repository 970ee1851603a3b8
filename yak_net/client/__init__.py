"""The core's producer and consumer on sockets; must never decide what the core decides."""
