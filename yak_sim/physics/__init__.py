"""Everything physical: clock, network, disks, store, machines."""
