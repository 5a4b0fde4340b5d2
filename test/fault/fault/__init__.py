"""Fault tests: a real cluster, a workload, faults, a history of it all, and checkers that judge it."""
