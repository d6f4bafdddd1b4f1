"""Sessions: what is stored, how requests align with it, and the stores."""
