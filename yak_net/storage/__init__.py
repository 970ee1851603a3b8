"""The log on disk, and all else that outlives a broker; must never decide what is committed."""

from yak_net.storage.disk import BrokerDisk
from yak_net.storage.recovery import Storage, open_storage
from yak_net.storage.system import StorageError, System

__all__ = ["BrokerDisk", "Storage", "StorageError", "System", "open_storage"]
