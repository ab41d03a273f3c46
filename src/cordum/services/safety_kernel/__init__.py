"""The safety kernel: holds one compiled policy in memory and decides every job against it, over gRPC.

It needs nothing but its policy file: no store, no bus, no state of its own.
"""
