"""safetensors with transformers: sequence classifiers, from text to label. No code in the artifact is ever run."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from server.formats import UnsafeModel, UnsupportedModel
from server.signature import Array, Signature, Tensor

TASK = "ForSequenceClassification"
BATCH = 32
LONGEST = 4096
"""Tokens of a text that are read where neither tokenizer nor model has a limit: time and memory grow with their square."""


class Transformer:
    """A tokenizer and a sequence classifier."""

    def __init__(self, folder: Path, signature: Signature | None) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        loaded, found = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, output_loading_info=True
        )
        if missing := sorted(found["missing_keys"]):  # which transformers draws at random, anew in each process
            raise UnsupportedModel(
                f"model.safetensors: it lacks {', '.join(missing[:5])}{' and others' if missing[5:] else ''}: "
                "save the whole model, with save_pretrained"
            )
        self.model = loaded.eval()
        room = getattr(self.model.config, "max_position_embeddings", None) or LONGEST
        padding = getattr(getattr(self.model.base_model, "embeddings", None), "padding_idx", None)
        if padding is not None:  # RoBERTa and its like count positions from behind that of the padding
            room -= padding + 1
        self.longest = min(self.tokenizer.model_max_length, room)
        names = self.model.config.id2label
        self.labels = np.array([names[index] for index in range(len(names))], dtype=np.object_)
        own_inputs = (Tensor("text", "BYTES", (-1,)),)
        own_outputs = (Tensor("label", "BYTES", (-1,)), Tensor("probabilities", "FP32", (-1, len(names))))
        self.signature = signature or Signature(own_inputs, own_outputs)
        if [tensor.datatype for tensor in self.signature.inputs] != ["BYTES"]:
            raise UnsupportedModel(
                "noria.json: a safetensors text classifier has one input, of datatype BYTES and shape [-1]"
            )

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See Runtime; long inputs go through the model in parts, so that memory stays bounded."""
        (texts,) = (value.tolist() for value in inputs.values())
        parts = [self._probabilities(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        probabilities = np.concatenate(parts)
        return {"label": self.labels[probabilities.argmax(axis=1)], "probabilities": probabilities}

    def _probabilities(self, texts: list[str]) -> Array:
        encoded = self.tokenizer(texts, padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        with torch.inference_mode():
            logits = self.model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits
        made: Array = torch.softmax(logits.float(), dim=1).numpy()
        return made


def load(folder: Path, signature: Signature | None, threads: int) -> Transformer:
    """The model in config.json, tokenizer.json and *.safetensors."""
    torch.set_num_threads(threads)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architectures = config.get("architectures") or ["none"]
    if not architectures[0].endswith(TASK):
        raise UnsupportedModel(
            f"config.json: this server runs *{TASK}, not {architectures[0]}: serve it with a runtime of its own"
        )
    if config.get("problem_type") not in (None, "single_label_classification"):
        raise UnsupportedModel(
            f"config.json: 'problem_type' is {config['problem_type']!r}, and this server gives one label a text: serve it with a runtime of its own"
        )
    if len(config.get("id2label") or (0, 1)) < 2:  # transformers takes two where nothing is told
        raise UnsupportedModel(
            "config.json: it has one label, so it gives a number and no class: serve it with a runtime of its own"
        )
    if "auto_map" in config:
        raise UnsafeModel(
            "config.json: 'auto_map' asks for Python code from the artifact: use an architecture of transformers itself"
        )
    return Transformer(folder, signature)
