"""Exact nearest neighbours and kernel densities over pools of vectors."""
