"""The real world on sockets, disks and Redis; must never decide anything about replication."""
