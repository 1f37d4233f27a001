"""One module a recipe, each with a dataclass of its parameters and a function `train`."""
