"""The plan of a selection from a larger pool: hours, bytes and memory, stage by stage, from what is measured here."""
