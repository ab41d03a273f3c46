"""The API gateway: HTTP and gRPC in front of the bus, the store and the safety kernel (spec-gateway).

`routes.ROUTES` says what is served, `pipeline` what every request passes, `submit` how a job comes in.
"""
