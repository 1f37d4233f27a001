"""The training of bench/training_throughput.py: a small network on scikit-learn's digits under torchrun; its last line says how fast it was."""

import json
import os
import sys
import time
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

WARM_UP, BATCH = 100, 64


def main() -> None:
    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    digits = load_digits()
    x, y = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(digits.target)
    layers = nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()
    model = nn.parallel.DistributedDataParallel(nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 64, 10)))
    optimizer = torch.optim.AdamW(model.parameters())
    total, began, cpu = WARM_UP + int(sys.argv[1]), 0.0, 0.0
    with Path(os.environ.get("NORIA_STEPS_FILE", os.devnull)).open("a", buffering=1) as steps:
        for step in range(1, total + 1):
            if step == WARM_UP + 1:
                began, cpu = time.perf_counter(), time.process_time()
            chosen = torch.randint(len(y), (BATCH,))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            steps.write(json.dumps({"step": step, "total": total, "loss": loss.item()}) + "\n")
    seconds, samples = time.perf_counter() - began, BATCH * (total - WARM_UP)
    told = {"samplesPerSecond": samples / seconds, "seconds": seconds, "cpuSeconds": time.process_time() - cpu}
    if "NORIA_OUTPUT_DIR" in os.environ:
        (Path(os.environ["NORIA_OUTPUT_DIR"]) / "metrics.json").write_text(json.dumps(told))
    torch.distributed.destroy_process_group()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
