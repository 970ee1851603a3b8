"""The client nodes: producer and consumer."""
