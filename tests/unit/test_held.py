"""How long a status waits that says only that something begins: a moment, and longer where many begin at once."""

from datetime import UTC, datetime, timedelta

from noria.plan.contract import Ref
from noria.runtime.held import FEW, Held

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def training(name: object, namespace: str = "vision") -> Ref:
    return Ref("TrainingJob", namespace, str(name))


def crowd(held: Held, count: int = FEW + 1) -> list[Ref]:
    found = [training(number) for number in range(count)]
    for each in found:
        held.left(each, NOW)
    return found


def test_one_alone_waits_a_second_from_when_it_was_first_asked() -> None:
    held = Held()
    assert held.left(training("t"), NOW) == 1
    assert held.left(training("t"), NOW + timedelta(seconds=0.25)) == 0.75
    held.release(training("t"))
    assert held.left(training("t"), NOW + timedelta(seconds=5)) == 1


def test_twenty_wait_a_second_and_one_more_makes_each_of_its_namespace_wait_ten() -> None:
    held = Held()
    last = crowd(held, FEW)[-1]
    assert held.left(last, NOW) == 1
    assert held.left(training("one more"), NOW) == 10
    assert held.left(last, NOW + timedelta(seconds=1)) == 9
    assert held.left(training("t", "calm"), NOW) == 1


def test_when_what_follows_has_come_for_enough_of_them_the_others_wait_no_longer() -> None:
    held = Held()
    first, *_, last = crowd(held)
    held.release(training("another"))
    held.release(training("another", "calm"))
    assert held.left(last, NOW + timedelta(seconds=2)) == 8
    held.release(first)
    assert held.left(last, NOW + timedelta(seconds=2)) == -1


def test_a_clock_that_goes_back_makes_nobody_wait_longer() -> None:
    held = Held()
    assert held.left(training("t"), NOW) == 1
    assert held.left(training("t"), NOW - timedelta(hours=1)) == 1
    assert held.left(training("t"), NOW - timedelta(hours=1) + timedelta(seconds=1)) == 0
