"""The figures that the README states: measured, never part of the tests.

``python -m tests.benchmarks`` runs them all, prints a table and writes ``var/bench.json``. Each figure is a ratio
of two things measured in one run on one machine, so that it means the same on a slow machine and a busy one.
"""
