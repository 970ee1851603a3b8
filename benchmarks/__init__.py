"""The benchmarks that measure all performance figures of the project, one module per subject."""
