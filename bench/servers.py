"""The two peers of Noria's server in bench/predictions.py: a bare FastAPI handler, and KServe's own server with a model of its kind.

`python3 servers.py fastapi|kserve NAME FOLDER PORT` in the server's image. Both run what Noria's server runs, loaded by the same lines
with as many threads; what differs is all that stands around the model.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cores import cores
from server.formats import Runtime, detect, load
from server.signature import DATATYPES, read_card, read_signature


def loaded(folder: Path) -> Runtime:
    """The model, as Noria's server loads it."""
    return load(detect(folder), folder, read_signature(read_card(folder)), cores())


def predictions(runtime: Runtime, instances: Sequence[Any]) -> list[dict[str, Any]]:
    """One object by output name for each instance; nothing is checked."""
    (tensor,) = runtime.signature.inputs
    outputs = runtime.predict({tensor.name: np.array(instances, dtype=DATATYPES[tensor.datatype])})
    lists = [value.tolist() for value in outputs.values()]
    return [dict(zip(outputs, row, strict=True)) for row in zip(*lists, strict=True)]


def fastapi(name: str, folder: Path, port: int) -> None:
    """The least that FastAPI can do: the body as it came, orjson, and the model called where the request is handled."""
    import orjson
    import uvicorn
    from fastapi import FastAPI, Request, Response

    app, runtime = FastAPI(), loaded(folder)

    @app.post(f"/v1/models/{name}:predict")
    async def predict(request: Request) -> Response:
        told = orjson.loads(await request.body())
        answer = orjson.dumps({"predictions": predictions(runtime, told["instances"])})
        return Response(answer, media_type="application/json")

    uvicorn.run(app, host="127.0.0.1", port=port)


def kserve(name: str, folder: Path, port: int) -> None:
    """A model as KServe's sklearnserver is one, in KServe's server with its defaults, but for gRPC, which nobody asks."""
    from kserve import InferRequest, Model, ModelServer
    from kserve.utils.utils import get_predict_input

    class Peer(Model):  # type: ignore[misc]
        def load(self) -> bool:
            self.runtime, self.ready = loaded(folder), True
            return self.ready

        def predict(self, payload: dict[str, Any] | InferRequest, headers: Any = None) -> dict[str, Any]:
            return {"predictions": predictions(self.runtime, get_predict_input(payload))}

    model = Peer(name)
    model.load()
    ModelServer(http_port=port, enable_grpc=False).start([model])


if __name__ == "__main__":
    {"fastapi": fastapi, "kserve": kserve}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
