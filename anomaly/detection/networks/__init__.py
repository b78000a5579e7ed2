"""Architectures: one file each. A file's module level is light; Keras is imported when a network is built.

Every network here is *batched*: all its weights have a leading axis of V variables, its input is
(V, B, L, F), its output (V, B), and variable v's output depends on variable v's weights and windows only. So
thousands of small networks train and serve as one.

To add one: a new file with a builder `network(variables, window, **options)`, and one line in
`anomaly.detection.candidates`.
"""
