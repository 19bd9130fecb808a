"""Every failure a person can cause or repair, as one tree.

    SamrefError                  base: the message is fit to show to the person at the keyboard
    ├── ImageError               the image cannot be used (not an image, truncated, too large, ...)
    ├── PromptError              the prompt cannot be used (outside the image, no area, not finite, ...)
    ├── ModelError               the model cannot be used
    │   ├── UnknownModelError    no model of that name
    │   ├── CheckpointMissingError   weights are not on this machine
    │   └── CheckpointInvalidError   weights are damaged, of another model, or unsafe to load
    ├── SessionError             the session cannot do that now
    │   ├── SessionExpiredError  the server no longer holds it (it can be rebuilt from its log)
    │   └── SupersededError      a newer prompt of the same session took this one's place
    ├── LabelError               classes, annotations, projects
    │   └── ImportFormatError    a file to import does not say what it should
    ├── StorageError             the labels on the disk cannot be read or written
    │   └── UnwritableError      the disk is full or may not be written to; what is there can still be read
    ├── DataError                a data set folder does not hold what was expected
    └── TrainingError            training cannot go on (loss not finite, state file of another run, ...)

Messages say what to do next. Anything that is not a ``SamrefError`` is a bug.
"""

from __future__ import annotations

__all__ = [
    "CheckpointInvalidError",
    "CheckpointMissingError",
    "DataError",
    "ImageError",
    "ImportFormatError",
    "LabelError",
    "ModelError",
    "PromptError",
    "SamrefError",
    "SessionError",
    "SessionExpiredError",
    "StorageError",
    "SupersededError",
    "TrainingError",
    "UnknownModelError",
    "UnwritableError",
]


class SamrefError(Exception):
    """Base of every error whose message may be shown to a person as it is."""

    code = "request"


class ImageError(SamrefError):
    """The image cannot be used."""

    code = "image"


class PromptError(SamrefError):
    """The prompt cannot be used; nothing was changed."""

    code = "prompt"


class ModelError(SamrefError):
    """The model cannot be used."""

    code = "model"


class UnknownModelError(ModelError):
    """There is no model of that name."""


class CheckpointMissingError(ModelError):
    """The weights are not on this machine."""


class CheckpointInvalidError(ModelError):
    """The weights are damaged, belong to another model, or are unsafe to load."""


class SessionError(SamrefError):
    """The session cannot do that now."""

    code = "session"


class SessionExpiredError(SessionError):
    """The server no longer holds the session; open the image again to go on."""


class SupersededError(SessionError):
    """A newer prompt of the same session took this one's place."""


class LabelError(SamrefError):
    """A class, annotation or project cannot be changed as asked."""

    code = "label"


class ImportFormatError(LabelError):
    """A file to import does not say what it should."""

    code = "import"


class StorageError(SamrefError):
    """The labels on the disk cannot be read or written; the previous file is untouched."""

    code = "storage"


class UnwritableError(StorageError):
    """The disk is full or may not be written to; what is there can still be read."""


class DataError(SamrefError):
    """A data set folder does not hold what was expected."""


class TrainingError(SamrefError):
    """Training cannot go on; the last good state is kept."""
