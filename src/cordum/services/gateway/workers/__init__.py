"""Workers and topics over HTTP."""
