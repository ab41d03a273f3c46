"""The safety kernel: holds one compiled policy in memory and decides every job against it, over gRPC.

It needs nothing but its policy: a file or URL, and the bundles in Redis where there is one. It keeps no state.
"""
