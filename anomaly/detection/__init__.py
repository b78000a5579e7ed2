"""Pure functions: arrays in, arrays out, no I/O, no clock, no configuration files.

Shapes, everywhere: ``V`` variables, ``N`` intervals or windows, ``L`` window length, ``F`` features.
"""
