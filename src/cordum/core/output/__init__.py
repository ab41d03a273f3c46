"""What content says: scanners, patterns and keywords, redaction, and the output rules of a policy.

`ContentTest` looks at one text; `OutputJudge` decides what happens to what a worker answered. No text is ever kept in a
finding, and none is too long to be looked at to its end.
"""
