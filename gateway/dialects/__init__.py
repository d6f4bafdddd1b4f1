"""The wire formats that clients and providers speak, and where each one is registered."""
