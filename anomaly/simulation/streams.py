"""A random stream for each purpose and variable, so that drawing one thing never moves another."""

from __future__ import annotations

import numpy as np


def stream(purpose: str, seed: int, name: str) -> np.random.Generator:
    """A generator that depends on these three and nothing else.

    Args:
        purpose: what is drawn, such as ``counts``.
        seed: at least 0.
        name: of the variable.

    Raises:
        ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected a whole number of at least 0")
    return np.random.default_rng([seed, len(purpose), *purpose.encode(), *name.encode()])
