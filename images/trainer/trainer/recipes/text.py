"""Recipe `text-classifier`: a small transformer and its tokenizer, both trained here from nothing, saved as safetensors."""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from trainer import artifact
from trainer.group import joined
from trainer.loop import Schedule, fit
from trainer.parameters import parameter, parse, strings
from trainer.pod import Pod
from trainer.scores import scores
from trainer.split import training_and_held_out

log = logging.getLogger("trainer")

EVALUATION_BATCH = 256
SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


@dataclass(frozen=True)
class Parameters:
    """Parameters of the recipe; in a TrainingJob they are camelCase strings."""

    epochs: int = parameter(10, minimum=1, maximum=100_000)
    """Passes over the training data. Default 10."""
    batch_size: int = parameter(32, minimum=1, maximum=1 << 20)
    """Texts a step, over all processes together. Default 32."""
    learning_rate: float = parameter(0.001, minimum=0, above=True, maximum=10)
    """Step size of AdamW. Default 0.001."""
    weight_decay: float = parameter(0.01, minimum=0, maximum=10)
    """Weight decay of AdamW. Default 0.01."""
    layers: int = parameter(2, minimum=1, maximum=48)
    """Layers of the transformer. Default 2."""
    hidden_units: int = parameter(64, minimum=4, maximum=8192)
    """Width of the transformer, a multiple of 4; it has hiddenUnits / 4 * 2 feed-forward units a head. Default 64."""
    vocabulary: int = parameter(2000, minimum=259, maximum=1_000_000)
    """Tokens of the tokenizer at most, the 256 bytes and 3 special ones among them. Default 2000."""
    max_tokens: int = parameter(64, minimum=4, maximum=8192)
    """Tokens of a text that are read; the rest is cut off. Default 64."""
    dropout: float = parameter(0.1, minimum=0, maximum=0.95)
    """Share of hidden units dropped in a training step. Default 0.1."""
    seed: int = parameter(0, minimum=0, maximum=1 << 31)
    """Seed of split, initial weights, order and dropout. Default 0."""
    test_fraction: float = parameter(0.2, minimum=0, above=True, maximum=0.9)
    """Share of each class that is held out, if no input or file `test` is given. Default 0.2."""
    text_column: str = parameter("text")
    """Column of the texts in CSV. Default `text`."""
    target: str = parameter("target")
    """Column of the labels in CSV. Default `target`."""


def train(pod: Pod) -> None:
    """Reads texts, trains tokenizer and transformer, and writes both with card, scores and distributions."""
    given = parse(Parameters, pod.parameters, "text-classifier")
    data, held_out = training_and_held_out(pod.inputs, given.target, given.test_fraction, given.seed, given.text_column)
    classes, y = np.unique(data.y, return_inverse=True)
    names = [str(label) for label in classes]
    tokenizer = _tokenizer(data.x.tolist(), given)
    with joined() as group:
        torch.manual_seed(given.seed)
        model = BertForSequenceClassification(_config(given, len(tokenizer), names))
        encoded = tokenizer(data.x.tolist(), padding="max_length", truncation=True, return_tensors="pt").to(
            group.device
        )
        targets = torch.from_numpy(y).to(group.device)

        def loss_of(network: nn.Module, indexes: Tensor) -> Tensor:
            indexes = indexes.to(group.device)
            logits = network(
                input_ids=encoded["input_ids"][indexes], attention_mask=encoded["attention_mask"][indexes]
            ).logits
            return nn.functional.cross_entropy(logits, targets[indexes])

        fit(pod, group, Schedule.of(data, given), strings(given), model, loss_of)
        if not group.leads:
            return
    model.save_pretrained(pod.output, safe_serialization=True)
    tokenizer.save_pretrained(pod.output)
    card = {
        "format": "safetensors",
        "seed": given.seed,
        "parameters": strings(given),
        "baseModel": None,
        "signature": {
            "inputs": [artifact.tensor("text", "BYTES")],
            "outputs": [artifact.tensor("label", "BYTES"), artifact.tensor("probabilities", "FP32", len(classes))],
        },
    }
    metrics = scores(np.searchsorted(classes, held_out.y), _probabilities(model, tokenizer, held_out.x.tolist()))
    predicted = _probabilities(model, tokenizer, data.x.tolist()).argmax(axis=1)
    artifact.write(pod.output, card, metrics, artifact.baseline((), data.x, names, predicted))
    log.info("wrote %s: %s", pod.output, metrics)


def _tokenizer(texts: list[str], given: Parameters) -> PreTrainedTokenizerFast:
    """Byte pairs, so that the same texts give the same tokenizer on every node; WordPiece's trainer gave another at each run."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    special, alphabet = list(SPECIAL.values()), pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=given.vocabulary, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    cls, sep = SPECIAL["cls_token"], SPECIAL["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}", special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=given.max_tokens, **SPECIAL)


def _config(given: Parameters, vocabulary: int, names: list[str]) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=given.hidden_units // 4 * 4,
        num_hidden_layers=given.layers,
        num_attention_heads=4,
        intermediate_size=given.hidden_units // 4 * 8,
        max_position_embeddings=given.max_tokens,
        hidden_dropout_prob=given.dropout,
        attention_probs_dropout_prob=given.dropout,
        pad_token_id=0,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )


def _probabilities(model: nn.Module, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> np.ndarray:
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), EVALUATION_BATCH):
            batch = tokenizer(
                texts[start : start + EVALUATION_BATCH], padding=True, truncation=True, return_tensors="pt"
            )
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            found.append(torch.softmax(logits, dim=1))
    return torch.cat(found).numpy()
