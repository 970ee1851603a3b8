"""Producer and consumer clients: they run the client nodes of yak_core on sockets."""
