"""How well the detection judges: measured on labelled data and beside other detectors, never part of the tests.

``python -m tests.benchmarks.detection`` (``make bench-detection``) prints tables, writes ``var/bench-detection.json``
and draws ``var/bench-detection/*.png``. How to read them stands in ``docs/benchmarks.md``.
"""
