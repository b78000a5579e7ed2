"""Which candidate wins a variable: the smallest error, and on a par the simpler one and the champion."""

from __future__ import annotations

import numpy as np

from anomaly.detection.choosing import CHAMPION, Choice, choose


def won(**errors: float) -> Choice:
    (choice,) = choose({name.replace("_", "-"): np.array([error]) for name, error in errors.items()})
    return choice


def test_the_smallest_error_wins() -> None:
    choice = won(naive=1.0, dense=0.8, lstm=0.9)

    assert (choice.name, choice.mae) == ("dense", 0.8)
    assert choice.reason == "dense has a test MAE of 0.800, against naive 1.000, lstm 0.900"


def test_of_two_that_are_as_good_the_simpler_wins() -> None:
    choice = won(naive=0.805, dense=0.8)

    assert choice.name == "naive"
    assert choice.reason.endswith("within 1% of the best, the simpler wins")


def test_a_champion_that_is_as_good_stays() -> None:
    choice = won(naive=0.8, champion=0.807)

    assert choice.name == CHAMPION
    assert choice.reason.endswith("within 1% of the best, the champion stays")


def test_a_champion_that_is_worse_goes() -> None:
    assert won(naive=0.8, champion=0.82).name == "naive"


def test_what_could_not_forecast_does_not_win() -> None:
    assert won(naive=np.nan, dense=0.9).name == "dense"
    assert won(naive=np.nan, dense=np.nan).name == ""


def test_each_variable_has_its_own_winner() -> None:
    choices = choose({"naive": np.array([0.1, 0.9, 0.0]), "dense": np.array([0.9, 0.1, 0.0])})

    assert [c.name for c in choices] == ["naive", "dense", "naive"]
