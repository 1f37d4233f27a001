"""Real data without a download: `python3 -m trainer.datasets NAME FOLDER` writes train and test files for a first training."""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

TEST_SHARE = 5
LIBRARIES = ("scipy", "sklearn", "torch")
SENTENCES = 800
SINGLE = ("digits", "digits-images", "breast_cancer", "iris", "wine", "docstrings")
INK = 16
"""Darkest grey level of scikit-learn's digits."""


def tabular(name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One of scikit-learn's bundled sets: x (samples, features) float32, y (samples,) int64, names of the features."""
    from sklearn import datasets

    loaded = getattr(datasets, f"load_{name}")()
    return (
        loaded.data.astype(np.float32),
        loaded.target.astype(np.int64),
        [str(column) for column in loaded.feature_names],
    )


def sentences() -> tuple[np.ndarray, np.ndarray]:
    """Sentences that document three libraries, each labelled with its library: x and y (samples,) of str.

    A fixed draw of 800 a library, of 6 to 30 words, without those that name the library.
    """
    texts: list[str] = []
    for library in LIBRARIES:
        folder = Path(str(next(iter(find_spec(library).submodule_search_locations))))  # type: ignore[union-attr,arg-type]
        found = sorted(
            {
                sentence
                for file in sorted(folder.rglob("*.py"))
                for sentence in _documentation(file)
                if library not in sentence
            }
        )
        texts += np.random.default_rng(0).permutation(np.array(found))[:SENTENCES].tolist()
    return np.array(texts), np.repeat(LIBRARIES, SENTENCES)


def _documentation(file: Path) -> Iterator[str]:
    if "test" in str(file):
        return
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
                for sentence in re.split(r"(?<=[.])\s+", " ".join(paragraph.split())):
                    if 6 <= len(sentence.split()) <= 30 and sentence.endswith(".") and ">>>" not in sentence:
                        yield sentence


def rescanned(x: np.ndarray) -> np.ndarray:
    """Digits as another site's scanner gives them: contrast inverted, noise of one grey level, the same every time.

    A model that knows only the plain ones guesses (accuracy 0.13); one that knows both reads both.
    """
    noise = np.random.default_rng(1).normal(0, 1, x.shape)
    return np.clip(INK - x + noise, 0, INK).round().astype(np.float32)


def write(name: str, folder: Path) -> None:
    """Writes train.npz and test.npz into `folder`; every fifth sample of a fixed shuffle is held out."""
    arrays: dict[str, np.ndarray] = {}
    if name == "docstrings":
        x, y = sentences()
    elif name == "digits-images":
        x, y, _ = tabular("digits")
        x = x.reshape(-1, 8, 8)
    else:
        x, y, names = tabular(name)
        arrays = {"columns": np.array(names)}
    for stem, chosen in divided(len(y)).items():
        save(folder, stem, x[chosen], y[chosen], **arrays)


def write_sites(folder: Path) -> None:
    """Writes digits of two sites, `a` and `b` (array `site`), into folders of `folder`, each with train.npz and test.npz.

    plain: site a alone. shifted: the same samples as site b scans them. mixed: both. bad: as mixed, but the labels of the
    training are shuffled, so that what is trained on them must not be served.
    """
    x, y, names = tabular("digits")
    samples = {"a": x, "b": rescanned(x)}
    for stem, chosen in divided(len(y)).items():
        for kind, sites in (("plain", "a"), ("shifted", "b"), ("mixed", "ab"), ("bad", "ab")):
            labels = np.tile(y[chosen], len(sites))
            if (kind, stem) == ("bad", "train"):
                labels = np.random.default_rng(0).permutation(labels)
            site = np.repeat(list(sites), len(chosen))
            joined = np.concatenate([samples[one][chosen] for one in sites])
            save(folder / kind, stem, joined, labels, columns=np.array(names), site=site)


def divided(samples: int) -> dict[str, np.ndarray]:
    """Indexes of `train` and `test`: every fifth of a fixed shuffle is held out."""
    order = np.random.default_rng(0).permutation(samples)
    held = np.arange(samples) % TEST_SHARE == 0
    return {"train": order[~held], "test": order[held]}


def save(folder: Path, stem: str, x: np.ndarray, y: np.ndarray, **arrays: np.ndarray) -> None:
    """Writes one file and says so."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{stem}.npz", x=x, y=y, **arrays)  # type: ignore[arg-type]
    print(f"{folder / stem}.npz: {len(y)} samples of shape {x.shape[1:]}, {len(np.unique(y))} classes")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="trainer.datasets", description=__doc__)
    parser.add_argument("name", choices=(*SINGLE, "digits-sites"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.name == "digits-sites":
        write_sites(arguments.folder)
    else:
        write(arguments.name, arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
