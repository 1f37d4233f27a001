"""What the agent refuses to publish, under the reasons that the operator reads."""


class PublishError(Exception):
    """The output cannot become a model; the text says which file, why, and what to do."""

    reason: str


class EmptyOutput(PublishError):
    """The training wrote nothing."""

    reason = "EmptyOutput"


class EmptyInput(PublishError):
    """An input holds no file, so that the training has learned from nothing."""

    reason = "EmptyInput"


class TooLarge(PublishError):
    """An input is too large to be digested in reasonable time."""

    reason = "TooLarge"


class UnsafeOutput(PublishError):
    """The output holds something that is not a plain file: a link, a device, a socket."""

    reason = "UnsafeOutput"


class InvalidOutput(PublishError):
    """One of the files that mean something cannot be understood."""

    reason = "InvalidOutput"


class ReadError(PublishError):
    """A file could not be read, or changed while it was read."""

    reason = "ReadError"
