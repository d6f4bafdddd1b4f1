"""What operators decide while the gateway runs, known to every worker: client keys, disabled providers, lock-outs."""
