"""Stories of the simulated cluster, one script each; they use nothing but yak_sim's public API."""
