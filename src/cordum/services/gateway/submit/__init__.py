"""How a job comes in, over HTTP and gRPC alike: check what was sent, decide, store, publish."""
