"""Peers are causal, so that none is ahead by looking ahead; and the oracle's ceiling is honest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from anomaly.groups import TimeRange
from anomaly.simulation.variables import Simulated, draw_traits, simulate
from tests.benchmarks.detection import peers
from tests.benchmarks.detection.peers.local_time import hour_of_week
from tests.benchmarks.detection.peers.oracle import oracle_scores, oracle_tail_probability

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 2, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")
TRAIN, LATER = 35 * 24, 6 * 24


def _is_here(peer: peers.Peer) -> bool:
    library = peer.library or next((part.library for part in peer.parts), "")
    return not library or not peers.missing(library)


HERE = [peer for peer in peers.PEERS if _is_here(peer)]
"""Libraries of peers are no part of the product: they are tested where `make bench-detection` has installed them."""


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    within = TimeRange(START, START + timedelta(hours=TRAIN + LATER), HOUR)
    return simulate(draw_traits(6, seed=3, rates=(1, 500)), within, zone=ZONE, seed=3)


@pytest.fixture
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(peers, "KEPT", tmp_path_factory.mktemp("kept"))


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("peer", HERE, ids=lambda peer: peer.name)
def test_what_a_peer_says_does_not_depend_on_what_comes_later(peer: peers.Peer, simulated: Simulated) -> None:
    half = TRAIN + LATER // 2
    counts = np.concatenate([simulated.counts[:2]] * 2)
    counts[2:, half:] = counts[2:, half:] * 7 + 1000
    scores = peers.score(peer, counts, simulated.starts, HOUR, ZONE, TRAIN)
    assert scores.shape == counts.shape
    assert np.isnan(scores[:, :TRAIN]).all()
    assert not np.isnan(scores[:, TRAIN:]).any()
    np.testing.assert_allclose(scores[:2, :half], scores[2:, :half], rtol=1e-9)  # luminol divides by a later scale
    assert (scores[:2, half:] != scores[2:, half:]).any()


@pytest.mark.parametrize("peer", peers.PEERS[:2], ids=lambda peer: peer.name)
def test_a_seasonal_peer_scores_an_outage_of_a_busy_variable_among_the_highest(
    peer: peers.Peer, simulated: Simulated
) -> None:
    rng = np.random.default_rng(4)
    usual = 200 + 150 * np.sin(np.arange(TRAIN + LATER) * np.pi / 12)
    counts = rng.poisson(usual)[None, :]
    noon = TRAIN + 3 * 24 + 6
    counts[0, noon] = 0
    scores = peers.score(peer, counts, simulated.starts, HOUR, ZoneInfo("UTC"), TRAIN)
    assert scores[0, noon] >= np.nanquantile(scores[0], 0.95)


def test_skyline_counts_the_rules_that_fire(simulated: Simulated) -> None:
    (skyline,) = (peer for peer in peers.PEERS if "Skyline" in peer.name)
    counts = np.random.default_rng(5).poisson(100, (1, TRAIN + LATER))
    counts[0, -3:] = 400
    scores = peers.score(skyline, counts, simulated.starts, HOUR, ZONE, TRAIN)[0]
    assert scores[-1] >= 8
    assert np.median(scores[TRAIN:-3]) < 1


def test_a_series_that_stands_still_is_boring_to_skyline(simulated: Simulated) -> None:
    (skyline,) = (peer for peer in peers.PEERS if "Skyline" in peer.name)
    counts = np.random.default_rng(5).poisson(100, (1, TRAIN + LATER))
    counts[0, -110:] = 0
    assert peers.score(skyline, counts, simulated.starts, HOUR, ZONE, TRAIN)[0, -1] == 0


def test_scores_are_kept_until_the_counts_change(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    monkeypatch.setattr(peers, "KEPT", folder)
    first = peers.score(peers.PEERS[0], simulated.counts, simulated.starts, HOUR, ZONE, TRAIN)
    again = peers.score(peers.PEERS[0], simulated.counts, simulated.starts, HOUR, ZONE, TRAIN)
    np.testing.assert_array_equal(first, again)
    assert len(list(folder.iterdir())) == 1
    peers.score(peers.PEERS[0], simulated.counts + 1, simulated.starts, HOUR, ZONE, TRAIN)
    assert len(list(folder.iterdir())) == 2


def test_a_missing_library_is_a_reason_and_not_a_crash(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("nothing")
    monkeypatch.setattr(peers, "KEPT", folder)
    monkeypatch.setattr(peers, "PYTHON", folder / "python")
    peers.missing.cache_clear()
    peer = peers.Peer("luminol", "luminol:default", library="luminol")
    with pytest.raises(peers.PeerMissingError, match="make bench-detection"):
        peers.score(peer, simulated.counts, simulated.starts, HOUR, ZONE, TRAIN)
    peers.missing.cache_clear()


def test_hours_of_the_week_follow_the_wall_clock_through_a_change() -> None:
    starts = TimeRange(datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 3, 29, 3, tzinfo=UTC), HOUR).starts()
    # Saturday 23:00, Sunday 0:00 and 1:00; the clock skips 2:00.
    assert hour_of_week(starts, ZONE).tolist() == [143, 144, 145, 147, 148]


def test_the_oracles_single_intervals_never_fire_more_often_than_they_promise() -> None:
    within = TimeRange(START, START + timedelta(days=200), HOUR)
    drawn = simulate(draw_traits(40, seed=8), within, zone=ZONE, seed=8)
    tails = oracle_tail_probability(drawn, drawn.counts)
    for level in (1e-2, 1e-3):
        assert (tails <= level).mean() < 1.1 * level


def test_the_oracle_tells_of_a_slow_loss_that_no_single_interval_shows(simulated: Simulated) -> None:
    row = int(np.argmin(np.abs(simulated.counts.mean(axis=1) - 40)))
    counts = simulated.counts.copy()
    counts[row, TRAIN : TRAIN + 72] = np.random.default_rng(6).binomial(counts[row, TRAIN : TRAIN + 72], 0.75)
    single = oracle_scores(simulated, counts, sums=())[row, TRAIN : TRAIN + 72].max()
    with_sums = oracle_scores(simulated, counts)[row, TRAIN : TRAIN + 72].max()
    assert with_sums > single


def test_the_oracle_is_quiet_three_days_after_an_outage_that_it_told_of(simulated: Simulated) -> None:
    counts = simulated.counts.copy()
    counts[:, TRAIN : TRAIN + 24] = 0
    after = oracle_scores(simulated, counts)[:, TRAIN + 25 : TRAIN + 72]
    assert np.median(after.max(axis=1)) < 4
