"""Checking a torch.export archive before torch.export.load, which would unpickle, evaluate and call whatever it names.

Pickles with code in them and expressions for sizes (torch gives them to sympy's parser, which evaluates Python) both ran
code in torch 2.6. Graph nodes may name any function that hangs off the torch module, and containers (defaultdict) any module
to import: these are refused too, so that nothing rests on how a version of torch treats them. For the same reason only
members that torch.export.save writes pass: later versions unpickle more of them, and unpack and run libraries.
"""

import ast
import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from server.formats import UnsafeModel

MEMBER = re.compile(
    r"version|serialized_exported_program\.json|serialized_(state_dict|constants|example_inputs)\.pt|extra_files/.+"
    r"|[^/]+/(archive_format|archive_version|byteorder|(\.data/)?version|\.data/serialization_id|models/\w+\.json|extra/.+"
    r"|data/sample_inputs/\w+\.pt|data/weights/(\w+\.pt|\w+_weights_config\.json|weight_\d+)"
    r"|data/constants/(\w+\.pt|\w+_constants_config\.json|tensor_\d+))"
)
"""torch 2.6's, without a folder, and those of versions since."""
OPERATOR = re.compile(r"torch\.ops\.(aten|prims|higher_order|profiler)\.[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
PYTHON_OPERATOR = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
)
SYMBOLIC = re.compile(r"(torch\.sym_[a-z_]+|math\.(ceil|floor|trunc|sqrt))|torch\._sym_[a-z]+")
FUNCTIONS = frozenset(
    ("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "PythonMod", "Max", "Min", "FloorDiv", "CleanDiv", "CeilDiv",
     "IntTrueDiv", "FloatTrueDiv", "ModularIndexing", "Where", "TruncToInt", "FloorToInt", "CeilToInt", "RoundToInt", "ToFloat",
     "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan",
     "And", "Or", "Not")
)  # fmt: skip
CONTAINERS = ("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
VARIABLE = re.compile(r"[suzf]\d+|True|False|oo|int_oo")
EXPRESSION_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip


def check(path: Path) -> io.BytesIO:
    """The archive written anew, for torch to read what was checked: it may find other members in the file than zipfile does.

    Raises UnsafeModel, naming the member and what is in it, unless nothing in the archive can run code.
    """
    checked = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(checked, "w") as anew:
            for member in archive.infolist():
                content = archive.read(member)  # by entry: names may repeat
                _check_member(member.filename, content)
                anew.writestr(member.filename, content)
    except zipfile.BadZipFile as error:
        raise UnsafeModel(f"{path.name} is not a torch.export archive: write it with torch.export.save") from error
    checked.seek(0)
    return checked


def _check_member(name: str, content: bytes) -> None:
    if not MEMBER.fullmatch(name) or ".." in name.split("/"):
        raise UnsafeModel(
            f"model.pt2: it holds {name[:80]!r}, a member that torch.export.save does not write: write it with that alone"
        )
    if name.endswith(".pt"):
        if not content:
            return
        try:
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError) as error:
            reason = str(error).split("WeightsUnpickler error: ")[-1].splitlines()[0]
            raise UnsafeModel(f"model.pt2: {name} holds more than plain tensors: {reason}") from error
    elif name.endswith(".json"):
        try:
            _check_json(name, json.loads(content))
        except (ValueError, RecursionError) as error:
            raise UnsafeModel(f"model.pt2: {name} is not valid JSON ({error})") from error


def _check_json(name: str, value: Any) -> None:
    for key, text in _values(value):
        if key == "use_pickle" and text:
            raise UnsafeModel(
                f"model.pt2: {name} asks to unpickle a tensor: export the model with plain, dense tensors"
            )
        if not isinstance(text, str):
            continue
        if key == "target" and not any(rule.fullmatch(text) for rule in (OPERATOR, PYTHON_OPERATOR, SYMBOLIC)):
            raise UnsafeModel(f"model.pt2: {name} calls {text[:80]!r}, which is no operator of PyTorch's own sets")
        if key == "expr_str" and not _is_arithmetic(text):
            raise UnsafeModel(f"model.pt2: {name} holds the size {text[:80]!r}, which is not arithmetic on dimensions")
        if key in ("in_spec", "out_spec"):
            for inner, kind in _values(json.loads(text)):
                if inner == "type" and isinstance(kind, str) and kind not in CONTAINERS:
                    raise UnsafeModel(
                        f"model.pt2: {name} holds the container {kind[:80]!r}; known are {', '.join(CONTAINERS)}"
                    )


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value in the JSON value, itself too, with the key that it stands under."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        key, item = waiting.pop()
        yield key, item
        if isinstance(item, dict):
            waiting += item.items()
        elif isinstance(item, list):
            waiting += [(key, inner) for inner in item]


def _is_arithmetic(text: str) -> bool:
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_harmless(node) for node in ast.walk(tree))


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in FUNCTIONS or VARIABLE.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool | int | float) or (
            isinstance(node.value, str) and VARIABLE.fullmatch(node.value) is not None
        )
    return isinstance(node, EXPRESSION_NODES)
