"""Selection through time: data sets arrive, a pool goes from step to step, and each step selects from all of it.

Files: `step` (one step, from data to subset), `arrivals` (new rows), `features` (vectors and scores), `state` (the
folder between two steps), `record` (why each row was selected).
"""

from tasksift.lifelong.step import Step, lifelong

__all__ = ["Step", "lifelong"]
