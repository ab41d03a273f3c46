"""Jobs over HTTP: reading, listing, waiting, cancelling."""
