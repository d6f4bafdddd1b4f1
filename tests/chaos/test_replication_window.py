"""What a failover loses, the short form of replication_window.py: the master dies while its replica is behind."""

from tests.chaos.replication_window import Case, failover


async def test_a_failover_loses_no_turn_that_a_replica_had_confirmed() -> None:
    run, short = await failover(Case(0.1, replicas=1), before=1.0, clients=8)
    assert [one for one in run.told if one.acknowledged and one.ended < run.begun]
    assert len(run.lost()) <= short
    assert not run.doubled()
    assert not run.astray()


async def test_what_a_failover_loses_was_counted_as_unreplicated() -> None:
    run, short = await failover(Case(silent=2.0, replicas=1), before=1.0, clients=8)
    assert 0 < len(run.lost()) <= short
    assert not run.doubled()
    assert not run.astray()
