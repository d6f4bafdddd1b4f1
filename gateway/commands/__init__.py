"""The `gateway` command, one module a subcommand. Arguments and the environment come in as values."""
