"""The broker: its roles in replication, client requests, its log and the metadata store."""
