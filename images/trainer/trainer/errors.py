"""Mistakes that no retry can mend: the process says one sentence and ends with exit code 2."""


class TrainingInputError(Exception):
    """A parameter or the data cannot be used; the text says which, what was expected, and what came."""
