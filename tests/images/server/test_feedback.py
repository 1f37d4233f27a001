"""Labels that come later: any replica counts them under the version, class and slice that the prediction's id names, or refuses all."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY
from server.baseline import Outcome
from server.feedback import CLOCK_DIFFERENCE, MAX_AGE, MAX_FOREIGN_CLASSES, MAX_FOREIGN_VERSIONS, MAX_LABELS, Feedback
from server.ids import MAX_SLICES, Ids, InvalidId, Slices, read
from server.signature import InvalidRequest
from support import held_out

CLASSES = Outcome("label", False, ("no", "yes"))
NUMBER = Outcome("price", True)
NOW = 1_800_000_000


def forged(version: str = "m-1", seconds: float = NOW, slice: Any = "", prediction: Any = "yes", *more: Any) -> str:
    """An id as whoever has read this code can make it."""
    told = json.dumps([version, seconds, slice, "nonce", prediction, 0, *more])
    return urlsafe_b64encode(told.encode()).rstrip(b"=").decode()


def receiver(name: str, outcome: Outcome = CLASSES, version: str = "m-1") -> Feedback:
    """A receiver whose series are those of an Endpoint of its own."""
    return Feedback(name, version, outcome, Slices(), now=lambda: NOW)


def counted(name: str, endpoint: str, **labels: str) -> float:
    """A counter's value; 0 if it is not there."""
    return REGISTRY.get_sample_value(name, {"modelendpoint": endpoint, "version": "m-1"} | labels) or 0


def test_round_trip(serve: Any) -> None:
    server = serve("digits")
    x, y = held_out("digits")
    status, answer = server.predict(x.tolist(), noria_slice="north")
    ids = answer["predictionIds"]
    assert status == 200 and len(set(ids)) == len(y)
    predicted = np.array([one["label"] for one in answer["predictions"]])
    labels = [{"id": one, "label": int(truth)} for one, truth in zip(ids, y, strict=True)]
    assert server.label(*labels) == (200, {"accepted": len(y)})
    assert server.metric("noria_feedback_total", slice="north", correct="true") == (predicted == y).sum()
    assert server.metric("noria_feedback_total", slice="north", correct="false") == (predicted != y).sum()
    for digit in range(10):
        tp, fp, fn = (server.metric("noria_feedback_class_total", **{"class": str(digit), "result": result})
                      for result in ("tp", "fp", "fn"))  # fmt: skip
        assert tp == ((predicted == digit) & (y == digit)).sum()
        assert (fp, fn) == (((predicted == digit) & (y != digit)).sum(), ((predicted != digit) & (y == digit)).sum())
    assert server.metric("noria_feedback_total", version="digits-1", slice="", correct="true") == 0


def test_ids_over_v2_and_labels_that_are_texts(serve: Any) -> None:
    server = serve("docs")
    texts = ["Computes the gradient of the loss with respect to the tensor.", "Fit the estimator."]
    status, answer = server.infer({"name": "text", "datatype": "BYTES", "shape": [2], "data": texts})
    ids = answer["parameters"]["prediction_ids"].split(",")
    assert status == 200 and [read(one).prediction for one in ids] == answer["outputs"][0]["data"]
    assert server.label(*({"id": one, "label": "torch"} for one in ids)) == (200, {"accepted": 2})


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ([], "'labels': expected a list of 1 to 1000 objects"),
        ([{}] * (MAX_LABELS + 1), "'labels': expected a list of 1 to 1000 objects"),
        ([3], "labels[0]: expected an object with 'id' and 'label'"),
        ([{"id": "x", "label": 1, "weight": 2}], "labels[0]: expected an object with 'id' and 'label'"),
        ([{"id": 3, "label": 1}], "labels[0].id: expected the id of a prediction"),
        ([{"id": "ümlaut", "label": 1}], "labels[0].id: is no id that a prediction was given"),
        ([{"id": "bm90IGpzb24", "label": 1}], "labels[0].id: is no id that a prediction was given"),
    ],
)
def test_bad_requests(serve: Any, labels: Any, error: str) -> None:
    status, answer = serve("iris").label(*labels)
    assert status == 400 and answer["error"].startswith(error), answer


def test_one_wrong_label_and_nothing_is_counted(serve: Any) -> None:
    server = serve("iris")
    ids = server.predict([[1, 2, 3, 4]] * 2)[1]["predictionIds"]
    before = server.metric("noria_feedback_total")
    status, answer = server.label({"id": ids[0], "label": 1}, {"id": ids[1], "label": 17})
    assert (status, answer) == (400, {"error": "labels[1].label: expected one of 0, 1, 2, got '17'"})
    status, answer = server.label({"id": ids[0], "label": 1}, {"id": ids[0], "label": 1})
    assert (status, answer) == (400, {"error": "labels[1].id: stands at labels[0] already"})
    assert server.post("/v1/models/iris:feedback", b"{")[0] == 400
    assert server.post("/v1/models/other:feedback", {})[0] == 404
    assert server.metric("noria_feedback_total") == before


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (forged(seconds=NOW - MAX_AGE - 1), "older than 30 days"),
        (forged(seconds=NOW + CLOCK_DIFFERENCE + 1), "from the future"),
        (forged(seconds=10**300), "no id"),
        (forged(seconds=1.5), "no id"),
        (forged(version="other-1"), "'other-1' is no version of this model, which is 'm-1'"),
        (forged(version="m-1-x"), "no version of this model"),
        (forged(version="m-" + "9" * 200), "no version of this model"),
        (forged(prediction="maybe"), "holds no prediction of this model"),
        (forged(prediction=None), "no id"),
        (forged(slice="a b"), "no id"),
        (forged(slice="a" * 41), "no id"),
        (forged("m-1", NOW, "", "yes", 7), "no id"),
        ("W" * 2000, "expected the id"),
        (urlsafe_b64encode(b"[" * 700).decode(), "no id"),
    ],
)
def test_forged_ids(given: str, error: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^labels\[0\]\.id: ") as caught:
        receiver("forged").accept({"labels": [{"id": given, "label": "yes"}]})
    assert error in str(caught.value)


def test_labels_of_other_versions_and_at_most_8_of_them() -> None:
    feedback = receiver("versions")
    ids = [forged(version=f"m-{number}") for number in range(2, 3 + MAX_FOREIGN_VERSIONS)]
    entries = [{"id": one, "label": "yes"} for one in ids]
    with pytest.raises(InvalidRequest, match=r"labels\[8\]\.id: 'm-10' is one version more than the 8"):
        feedback.accept({"labels": entries})
    assert feedback.accept({"labels": entries[:-1]}) == MAX_FOREIGN_VERSIONS
    assert feedback.accept({"labels": [{"id": forged(), "label": "no"}, entries[0]]}) == 2
    assert counted("noria_feedback_total", "versions", version="m-2", slice="", correct="true") == 2
    assert counted("noria_feedback_class_total", "versions", **{"class": "yes", "result": "fp"}) == 1
    assert counted("noria_feedback_class_total", "versions", **{"class": "no", "result": "fn"}) == 1
    for version in ("", "mine"):
        with pytest.raises(InvalidRequest, match="no version of this model"):
            receiver("alone", version=version).accept({"labels": entries[:1]})


def test_a_version_whose_trial_is_long_over_makes_room_for_the_next() -> None:
    """With the ninth challenger a champion refused the labels of all that stood beside its."""
    feedback = receiver("trials")
    for number in range(2, 4 + MAX_FOREIGN_VERSIONS):
        given = forged(version=f"m-{number}", seconds=NOW - 1000 + number)
        assert feedback.accept({"labels": [{"id": given, "label": "no"}, {"id": forged(), "label": "yes"}]}) == 2
    there = [number for number in range(2, 4 + MAX_FOREIGN_VERSIONS) if counted_of("trials", f"m-{number}") is not None]
    assert there == list(range(4, 4 + MAX_FOREIGN_VERSIONS))
    late = forged(version="m-2", seconds=NOW - 2000)
    assert feedback.accept({"labels": [{"id": late, "label": "no"}]}) == 1
    assert counted_of("trials", "m-2") is None and counted_of("trials", "m-4") == 1, "the newest are compared"


def counted_of(endpoint: str, version: str) -> float | None:
    """Labels that told of a wrong prediction; None without such a series."""
    labels = {"modelendpoint": endpoint, "version": version, "slice": "", "correct": "false"}
    return REGISTRY.get_sample_value("noria_feedback_total", labels)


def test_series_of_a_slice_begin_at_0_with_its_first_prediction_and_those_of_a_version_with_its_first_label() -> None:
    """What is not there at 0 is born by its first wrong label, which no increase tells."""
    one = receiver("begins")
    one.slices.of({"noria-slice": "north"})
    for correct in ("true", "false"):
        where = {"modelendpoint": "begins", "version": "m-1", "slice": "north", "correct": correct}
        assert REGISTRY.get_sample_value("noria_feedback_total", where) == 0
    one.accept({"labels": [{"id": forged("m-2", slice="south"), "label": "yes"}]})
    where = {"modelendpoint": "begins", "version": "m-2", "slice": "south", "correct": "false"}
    assert REGISTRY.get_sample_value("noria_feedback_total", where) == 0


def test_slices_are_at_most_32_and_then_other(serve: Any) -> None:
    slices = Slices()
    names = [slices.of({"noria-slice": f"s{number}"}) for number in range(MAX_SLICES + 2)]
    assert names == [f"s{number}" for number in range(MAX_SLICES)] + ["other"] * 2
    assert (slices.of(None), slices.of({}), slices.of({"noria-slice": "s3"})) == ("", "", "s3")
    feedback = receiver("slices")
    entries = [{"id": forged(slice=f"s{number}"), "label": "yes"} for number in range(MAX_SLICES + 2)]
    feedback.accept({"labels": entries})
    assert counted("noria_feedback_total", "slices", slice="other", correct="true") == 2
    status, answer = serve("iris").predict([[1, 2, 3, 4]], noria_slice="north east")
    assert status == 400 and answer["error"].startswith("header 'noria-slice': expected 1 to 40 letters")


def test_numbers_sum_their_errors() -> None:
    feedback = receiver("numbers", NUMBER)
    assert counted("noria_feedback_error_total", "numbers", slice="") == 0
    ids = Ids("m-1", NUMBER).issue("a", {"price": np.array([[1.5], [2.0]], dtype=np.float32)})
    entries = [{"id": forged(slice="a", prediction=value), "label": 2} for value in (1.5, 4)]
    assert [read(one).prediction for one in ids] == [1.5, 2.0] and feedback.accept({"labels": entries}) == 2
    assert counted("noria_feedback_error_total", "numbers", slice="a") == 2.5
    assert counted("noria_feedback_total", "numbers", slice="a", correct="") == 2
    for label in ("2", None, True, 1e300, float("nan"), 10**400):
        with pytest.raises(InvalidRequest, match=r"^labels\[0\]\.label: expected a number"):
            feedback.accept({"labels": [{"id": forged(prediction=1), "label": label}]})


def test_an_id_holds_what_it_must_and_no_two_are_the_same() -> None:
    outputs = {"label": np.array(["yes", "no", "yes"], dtype=np.object_)}
    ids = [one for ids in (Ids("m-1", CLASSES), Ids("m-1", CLASSES)) for _ in "ab" for one in ids.issue("a", outputs)]
    assert len(set(ids)) == 12 and all(one.isascii() and "=" not in one for one in ids)
    assert [read(one)[2:] for one in ids[:3]] == [("a", "yes"), ("a", "no"), ("a", "yes")]
    assert json.loads(urlsafe_b64decode(ids[0] + "=="))[0] == "m-1"
    assert Ids("m-1", CLASSES).issue("", {"label": np.zeros((2, 3))}) == [] == Ids("m-1", None).issue("", outputs)
    with pytest.raises(InvalidId):
        read("")


def test_while_another_version_knows_more_classes_the_labels_of_both_are_counted() -> None:
    """In a canary each replica gets labels of both versions: those on which they differ were refused, and all beside them."""
    feedback = receiver("wider")
    truths = enumerate(("maybe", "yes"))
    theirs = [{"id": forged("m-2", NOW - age, prediction="maybe"), "label": truth} for age, truth in truths]
    assert feedback.accept({"labels": [{"id": forged(prediction="no"), "label": "maybe"}, *theirs]}) == 3
    assert counted("noria_feedback_total", "wider", slice="", correct="false") == 1
    assert counted("noria_feedback_class_total", "wider", **{"class": "maybe", "result": "fn"}) == 1
    where = {"version": "m-2", "class": "maybe"}
    assert counted("noria_feedback_class_total", "wider", **where, result="tp") == 1
    assert counted("noria_feedback_class_total", "wider", **where, result="fp") == 1
    with pytest.raises(InvalidRequest, match="expected one of no, yes, got 'mabye'"):
        feedback.accept({"labels": [{"id": forged(), "label": "mabye"}]})
    for number in range(MAX_FOREIGN_CLASSES):
        one = {"id": forged("m-2", prediction=f"c{number}"), "label": "yes"}
        if number < MAX_FOREIGN_CLASSES - 1:
            assert feedback.accept({"labels": [one]}) == 1
    with pytest.raises(InvalidRequest, match="holds no prediction of this model"):
        feedback.accept({"labels": [one]})
