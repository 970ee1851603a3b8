"""The broker: replication roles, clients' requests, own log and store."""
