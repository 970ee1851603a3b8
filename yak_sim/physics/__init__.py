"""The physical parts of the simulator: clock, network, disks, store, machines."""
