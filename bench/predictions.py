"""Predictions through Noria's server beside a bare FastAPI handler and beside KServe's own server: p50, p99 and throughput.

`.venv/bin/python bench/predictions.py [MODEL ...]`, some 80 s a model; needs buildah and the images (`make test-images`
builds them). Recipes train the models in the trainer's image, and all else happens in the server's, with one core for the servers
and another for the clients. `--code images/server/server` takes the server's code from there instead of the image's. Ends with 1 if the
three do not predict the same.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/images"))
from run import inside, published, reference

HERE = Path(__file__).resolve().parent
ROUNDS, SECONDS = 5, 1.0
MODELS = ("plain", "digits", "docs")
"""A random forest as ONNX and a network as torch.export, both on 64 numbers, and a text classifier as safetensors."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "models", nargs="*", default=MODELS, metavar="MODEL", help="of tests/images/server/train_models.py"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--code", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        models = Path(temporary)
        if code := published(models, *given.models):
            return code
        folders = {HERE: "/bench:ro", models: "/models:ro"}
        if given.code:
            folders[given.code.resolve()] = "/app/server:ro"
        bounds = [f"--rounds={given.rounds}", f"--seconds={given.seconds}"]
        return inside(reference("server"), folders, ["/bench/asking.py", "/models", *given.models, *bounds])


if __name__ == "__main__":
    sys.exit(main())
