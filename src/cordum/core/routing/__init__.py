"""Routing: which pool serves a topic, and which worker of it gets the job.

Everything here takes `now` and what was heard from workers, and answers; the scheduler does the sending.
"""
