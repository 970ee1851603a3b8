"""A broker's storage: the log on disk, saved values, checkpoints, and recovery."""

from yak_net.storage.disk import BrokerDisk
from yak_net.storage.loop_writes import LoopWrites
from yak_net.storage.recovery import Storage, open_storage
from yak_net.storage.system import StorageError, System

__all__ = ["BrokerDisk", "LoopWrites", "Storage", "StorageError", "System", "open_storage"]
