"""Which target serves a request: values in, values out, no I/O."""
