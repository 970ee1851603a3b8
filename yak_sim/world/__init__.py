"""The simulated cluster: world, clients, faults, expectations, narrative."""
