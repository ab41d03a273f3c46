"""gRPC: the server every service starts the same way, the safety-kernel client, and messages from and to our types.

`gen` holds what `tools/gen_proto.py` made of `proto/`; the messages of `cordum.agent.v1` come from the CAP package.
"""

import os

# gRPC's C core writes plain text to stderr, where only our JSON lines belong; it reads this once, when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
