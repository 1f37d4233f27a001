"""Requests that do not fit: always 400, always the field, what was expected and what came."""

import socket
import time
from typing import Any

import pytest

ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.mark.parametrize(
    ("instances", "error"),
    [
        (None, "'instances': expected a list, got nothing"),
        ({}, "'instances': expected a list, got an object"),
        ([], "'instances': expected at least one sample, got none"),
        ([ROW, ROW[:3]], "instances[1] 'features': expected shape [-1, 4], got [1, 3]"),
        ([3], "instances[0] 'features': expected shape [-1, 4], got [1]"),
        ([[*ROW[:3], "x"]], "instances[0] 'features': expected FP32 [-1, 4], got \"x\""),
        ([[*ROW[:3], None]], "instances[0] 'features': expected FP32 [-1, 4], got null"),
        ([[*ROW[:3], [1]]], "instances[0] 'features': expected FP32 [-1, 4], got lists of unequal lengths"),
        ([[*ROW[:3], 1e300]], "instances[0] 'features': expected finite numbers, got inf at [0, 3]"),
        ([{"features": ROW, "x": 1}], "instances[0] 'x': the model has no such input; it has features"),
        ([{"sepal length (cm)": 1}], "instances[0] 'sepal width (cm)': expected a value, got none"),
    ],
)
def test_v1(serve: Any, instances: Any, error: str) -> None:
    server = serve("iris")
    status, answer = server.predict(instances) if instances is not None else server.post("/v1/models/iris:predict", {})
    assert (status, error in answer["error"]) == (400, True), answer


def test_v1_column_that_is_no_number(serve: Any) -> None:
    names = [f"{part} {size} (cm)" for part in ("sepal", "petal") for size in ("length", "width")]
    status, answer = serve("iris").predict([dict(zip(names, [1, 2, 3, "4"], strict=True))])
    assert (status, answer) == (400, {"error": "instances[0] 'petal width (cm)': expected a number, got text"})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": "pixels"}, "inputs[0] 'pixels': the model has no such input; it has features"),
        ({"datatype": "FP64"}, "inputs[0] 'features': expected datatype FP32, got FP64"),
        ({"shape": [1, 5]}, "inputs[0] 'features': expected as many values as shape [1, 5] says, got 4"),
        ({"shape": [-1, 4]}, "inputs[0] 'features': expected as many values as shape [-1, 4] says, got 4"),
        ({"shape": [1] * 65, "data": [1.0]}, "inputs[0] 'features': expected as many values as shape [1, 1, 1"),
        ({"shape": [4]}, "inputs[0] 'features': expected shape [-1, 4], got [4]"),
        ({"shape": [0, 4], "data": []}, "inputs[0] 'features': expected at least one sample, got none"),
        ({"data": ["a", "b", "c", "d"]}, "inputs[0] 'features': expected FP32 [-1, 4], got \"a\""),
    ],
)
def test_v2(serve: Any, change: dict[str, Any], error: str) -> None:
    given = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": ROW} | change
    status, answer = serve("iris").infer(given)
    assert (status, answer["error"][: len(error)]) == (400, error)


def test_v2_missing_input_and_unknown_output(serve: Any) -> None:
    server = serve("iris")
    assert server.infer() == (400, {"error": "inputs: expected 'features' of FP32 [-1, 4], got none"})
    given = {"name": "features", "datatype": "FP32", "shape": [1, 4], "data": ROW}
    status, answer = server.infer(given, outputs=[{"name": "score"}])
    assert (status, answer) == (
        400,
        {"error": "outputs 'score': the model has no such output; it has label, probabilities"},
    )


def test_text_model(serve: Any) -> None:
    server = serve("docs")
    assert server.predict([3]) == (400, {"error": "instances[0] 'text': expected text, got 3 at []"})
    assert server.infer({"name": "text", "datatype": "BYTES", "shape": [1], "data": [3]})[0] == 400


@pytest.mark.parametrize("path", ["/v1/models/iris:predict", "/v2/models/iris/infer"])
@pytest.mark.parametrize("body", [b"{", b"", b"[1]", b'{"inputs": 3}'])
def test_malformed_bodies_never_fail_the_server(serve: Any, path: str, body: bytes) -> None:
    status, _ = serve("iris").post(path, body)
    assert 400 <= status < 500


def test_unknown_model(serve: Any) -> None:
    assert serve("iris").post("/v1/models/other:predict", {"instances": [ROW]})[0] == 404


@pytest.mark.parametrize("sample", [[0], ROW])
def test_too_many_samples_are_refused_before_they_are_looked_at(serve: Any, sample: list[float]) -> None:
    """Four million of one number are 16 MB, which became 1.6 GB and held the server up for 20 s."""
    server = serve("iris")
    status, answer = server.predict([sample] * 65_537)
    expected = "'instances': expected at most 65536 samples a request, got 65537"
    assert (status, answer) == (400, {"error": expected})
    given = {"name": "features", "datatype": "FP32", "shape": [65_537, 4], "data": [0.0] * 4 * 65_537}
    status, answer = server.infer(given)
    assert (status, answer) == (400, {"error": expected.replace("'instances'", "inputs[0] 'features'")})


def test_nobody_unloads_the_model(serve: Any) -> None:
    """KServe lets any client do so, and nothing loads it again."""
    server = serve("iris")
    for path in ("/v2/repository/models/iris/unload", "/v2/repository/models/iris/load"):
        status, answer = server.post(path, b"")
        assert (status, answer) == (404, {"error": "the model is loaded as long as the server runs"})
    assert server.predict([ROW])[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "code", "error"),
    [
        ("/v2/models/iris/versions/1/infer", b"{}", 404, "one version is served here: POST to /v2/models/NAME/infer"),
        (
            "/v2/models/iris/infer",
            b"{}",
            400,
            "the request's bytes are no v2 request with binary tensor data: KeyError",
        ),
    ],
)
def test_what_kserve_calls_its_own_error_is_the_clients(
    serve: Any, path: str, body: bytes, code: int, error: str
) -> None:
    server = serve("iris")
    before = server.metric("noria_requests_total", code="4xx"), server.metric("noria_requests_total", code="5xx")
    headers = {"Content-Type": "application/octet-stream", "inference_header_content_length": "2"}
    status, answer = server.post(path, body, **headers)
    assert (status, answer["error"][: len(error)]) == (code, error)
    after = server.metric("noria_requests_total", code="4xx"), server.metric("noria_requests_total", code="5xx")
    assert after == (before[0] + (code == 400), before[1])


def test_a_body_that_is_too_large_is_refused_before_it_is_read(serve: Any) -> None:
    server = serve("iris")
    body = b'{"instances": [' + b"[0.5,0.5,0.5,0.5]," * 1_000_000 + b"[1,1,1,1]]}"
    for path in ("/v1/models/iris:predict", "/v2/models/iris/infer", "/v1/models/iris:feedback"):
        before = server.metric("noria_requests_total", code="4xx")
        status, answer = server.post(path, body)
        assert status == 413 and "the request has more than 16777216 bytes: send fewer samples" in answer["error"]
        counted = not path.endswith(":feedback")
        assert server.metric("noria_requests_total", code="4xx") == before + counted
    assert server.predict([ROW])[0] == 200


@pytest.mark.parametrize("path", ["/v1/models/iris:predict", "/v2/models/iris/infer"])
def test_a_client_that_leaves_before_it_has_sent_all_is_no_error_of_the_servers(serve: Any, path: str) -> None:
    server = serve("iris")
    codes = ("4xx", "5xx")
    before = [server.metric("noria_requests_total", code=code) for code in codes]
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sending:
        told = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
        sending.sendall(told.encode() + b'{"instances": [')
    deadline = time.monotonic() + 30
    while [server.metric("noria_requests_total", code=code) for code in codes] == before:
        assert time.monotonic() < deadline
    assert [server.metric("noria_requests_total", code=code) for code in codes] == [before[0] + 1, before[1]]


def test_lists_within_lists_are_the_clients_fault(serve: Any) -> None:
    server, deep = serve("docs"), "x"
    for _ in range(40):
        deep = [deep]  # type: ignore[assignment]
    assert server.predict([deep])[0] == 400
    given = {"name": "features", "datatype": "FP32", "shape": [2**32, 2**32], "data": []}
    assert serve("iris").infer(given)[0] == 400
