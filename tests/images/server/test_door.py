"""Plain predictions are answered before KServe's application: whatever is not plain comes to KServe as it was sent, and all are counted."""

import asyncio
import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from server.baseline import Baseline, Outcome
from server.counts import Counts
from server.ids import Ids, Slices
from server.model import QUICK, ServedModel
from server.signature import Array, Signature, Tensor

ROW = [5.1, 3.5, 1.4, 0.2]
BODY = {"instances": [ROW]}
EVENT = {"specversion": "1.0", "id": "1", "source": "test", "type": "test", "time": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY, {"Content-Type": "application/json"}),
        (BODY, {"Content-Type": "application/octet-stream"}),
        (BODY, {f"ce-{name}": value for name, value in EVENT.items()}),
        (EVENT | {"data": BODY}, {"Content-Type": "application/cloudevents+json"}),
        (EVENT | {"data": BODY, "instances": []}, {"Content-Type": "application/json"}),
        (BODY | {"padding": "x" * 500_000}, {"Content-Type": "application/json"}),
        (EVENT | {"data": BODY, "padding": "x" * 500_000}, {"Content-Type": "application/json"}),
    ],
    ids=["plain", "other type", "binary event", "event", "event with instances", "in parts", "event in parts"],
)
def test_plain_or_not_the_answer_and_the_counts_are_the_same(
    serve: Any, body: dict[str, Any], headers: dict[str, str]
) -> None:
    server = serve("iris")
    wanted = server.predict([ROW])[1]["predictions"]

    def counted() -> list[float]:
        requests = ("noria_requests_total", {"code": "2xx"}), ("noria_request_seconds_count", {})
        kserves = [(f"request_{part}process_seconds_count", {"model_name": "iris"}) for part in ("pre", "post")]
        names = (*requests, *kserves, ("request_predict_seconds_count", {}), ("noria_predictions_total", {}))
        return [server.metric(name, **labels) for name, labels in names]

    before = counted()
    status, answer = server.post("/v1/models/iris:predict", body, **headers)
    assert (status, answer.get("data", answer)["predictions"]) == (200, wanted)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1] * len(before)


def test_what_is_no_prediction_goes_to_kserve(serve: Any) -> None:
    server = serve("iris")
    assert server.get("/v1/models/iris:predict")[0] == 404
    assert server.post("/v1/models/iris:explain", BODY)[0] == 501
    assert server.post("/v1/models/iris%3Apredict", BODY)[0] == 200
    status, answer = server.post("/v1/models/iris:predict", json.dumps(BODY).encode(), Content_Type="text/plain")
    assert (status, answer) == (400, {"error": "'instances': expected a list, got nothing"})


class Clock:
    """A model that takes as long as it is told, by a clock of its own, and notes the threads that it ran in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.signature = Signature((Tensor("x", "FP32", (-1, 1)),), (Tensor("y", "INT64", (-1,)),))
        self.now, self.takes, self.here = 0.0, 0.0, list[bool]()
        monkeypatch.setattr("server.model.time", SimpleNamespace(perf_counter=lambda: self.now))

    def predict(self, inputs: Any) -> dict[str, Array]:
        self.now += self.takes
        self.here.append(threading.current_thread() is threading.main_thread())
        return {"y": np.zeros(len(inputs["x"]), dtype=np.int64)}


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[bool]]:
    """Asks a new model, for each (seconds it takes, samples); whether each ran where the request came."""

    def asked(*requests: tuple[float, int]) -> list[bool]:
        clock = Clock(monkeypatch)
        counts = Counts(("m", "m-1"), clock.signature, Baseline(), None)
        model = ServedModel("m", "m-1", clock, counts, Ids("m-1", Outcome("y", False)), Slices())

        async def all() -> None:
            for clock.takes, samples in requests:
                await model.predict({"instances": [[1]] * samples})

        asyncio.run(all())
        return clock.here

    return asked


def test_only_a_model_that_was_quick_keeps_the_loop(ask: Callable[..., list[bool]]) -> None:
    assert ask((0, 1), (0, 1), (0, 1)) == [False, True, True]
    assert ask(*[(QUICK, 1)] * 3) == [False] * 3
    assert ask((0, 1), (0, 1000)) == [False, False]
    slow = ask(*[(0, 1)] * 9, (1, 1), *[(0, 1)] * 50)
    assert slow[:12] == [False, *[True] * 9, False, False] and slow[-1]


def test_one_request_at_a_time_runs_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, entered, release = Clock(monkeypatch), threading.Event(), threading.Event()
    predict, running = clock.predict, list[int]()

    def waiting(inputs: Any) -> dict[str, Array]:
        running.append(len(inputs["x"]))
        if len(inputs["x"]) > 1:
            entered.set()
            assert release.wait(30)
        running.remove(len(inputs["x"]))
        assert not running
        return predict(inputs)

    clock.predict = waiting  # type: ignore[method-assign]
    counts = Counts(("m", "m-1"), clock.signature, Baseline(), None)
    model = ServedModel("m", "m-1", clock, counts, Ids("m-1", None), Slices())

    async def both() -> None:
        many = asyncio.create_task(model.predict({"instances": [[1]] * 2}))
        assert await asyncio.to_thread(entered.wait, 30)
        one = asyncio.create_task(model.predict({"instances": [[1]]}))
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(many, one)

    asyncio.run(both())
    assert clock.here == [False, False]
