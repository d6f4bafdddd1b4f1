"""The operator's page: static files that talk to the management API from the browser."""
