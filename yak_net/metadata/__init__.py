"""The metadata store on Redis: the client, and an embedded server for local clusters."""
