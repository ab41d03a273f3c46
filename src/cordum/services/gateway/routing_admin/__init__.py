"""Topics and pools as operators change them (spec-gateway section 6).

Both live in documents the schedulers read: `cfg:system:topics` and `cfg:system:default`. A change of both is written
down as an intent with the topic first, so that whoever dies in between is finished by the next gateway that looks.
"""
