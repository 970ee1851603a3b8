"""The benchmarks behind every performance figure of the project, one module per subject."""
