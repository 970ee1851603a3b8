"""The broker process: the server, the links to its peers, and the signals."""
