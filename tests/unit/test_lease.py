"""What a lease tells of the API server, which nobody else asks as often."""

import asyncio
from typing import Any

import pytest

from noria.plan.contract import Manifest
from noria.runtime.errors import Unreachable
from noria.runtime.lease import Lease

ANSWER, NOTHING = "answer", "nothing"


class Answering:
    """An API server that answers, or does not, as it is told to; afterwards the test ends."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        if not self.answers:
            raise asyncio.CancelledError
        if self.answers.pop(0) == NOTHING:
            raise Unreachable(0, "Unreachable", "no answer", kind)
        return {"metadata": {"resourceVersion": "1"}, "spec": {"holderIdentity": "another"}}


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([ANSWER, ANSWER], []),
        ([NOTHING, NOTHING], []),
        ([NOTHING, NOTHING, ANSWER, ANSWER], [1]),
        ([ANSWER, NOTHING, ANSWER, NOTHING, ANSWER], [2, 0]),
    ],
)
async def test_that_it_answers_again_is_told_once(answers: list[str], told: list[int]) -> None:
    """By how many answers were left."""
    cluster: Any = Answering(*answers)
    lease, seen = Lease(cluster, "n", "noria", "me", retry=0), list[int]()
    lease.answered = lambda: seen.append(len(cluster.answers))
    with pytest.raises(asyncio.CancelledError):
        await lease.run()
    assert seen == told
