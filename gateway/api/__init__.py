"""HTTP: the data plane, management, probes."""
