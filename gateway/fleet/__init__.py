"""What workers tell each other: cool-downs, probes, and how much each client key has used."""
