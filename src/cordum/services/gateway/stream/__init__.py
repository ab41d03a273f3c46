"""The event stream: what happens to jobs, as it happens, for whoever may see it (spec-gateway section 12).

`relay` listens to the bus and gives each event to the clients whose tenant it is of; `packets` says what an event looks
like; `endpoint` lets clients in and keeps them company; `protocol` is the WebSocket on the wire.
"""
