"""Counts, events and incidents made up from a seed, with the truth beside them: what the detection is measured by.

Pure like `anomaly.detection`, and apart from it: neither imports the other, so that nothing can be learned from how
the data was made.
"""
