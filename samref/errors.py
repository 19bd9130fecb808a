"""Every failure a person can cause or repair, as one tree.

    SamrefError                      request     base: the message is fit to show to the person at the keyboard
    ├── ImageError                   image       the image cannot be used (not an image, truncated, too large, ...)
    ├── PromptError                  prompt      the prompt cannot be used (outside the image, no area, not finite, ...)
    ├── ModelError                   model       the model cannot be used
    │   ├── UnknownModelError        model       no model of that name
    │   ├── CheckpointMissingError   model       weights are not on this machine
    │   └── CheckpointInvalidError   model       weights are damaged, of another model, or unsafe to load
    ├── SessionError                 session     the session cannot do that now
    │   ├── SupersededError          session     a newer prompt of the same session took this one's place
    │   └── StaleError               stale       another tab changed the image since this one looked
    ├── LabelError                   label       classes, annotations, projects
    │   └── ImportFormatError        import      a file to import does not say what it should
    ├── StorageError                 storage     the labels on the disk cannot be read or written
    │   └── UnwritableError          storage     the disk is full or may not be written to; what is there can be read
    ├── RequestError                 request     a request of the page cannot be read: a bug, or a tampered page
    ├── BusyError                    busy        the server has too much to do just now
    ├── SettingsError                settings    a setting of the server cannot be used
    ├── DataError                    data        a data set folder does not hold what was expected
    ├── TrainingError                training    training cannot go on (loss not finite, state of another run, ...)
    └── SpaceError                   space       the Spacefile, the folder made of it or the Space cannot be used

Messages say what to do next, and may be mended. The word beside a class is its ``code``, which is part of the protocol
with the page (docs/protocol.md) and does not change. Anything that is not a ``SamrefError`` is a bug.
"""

from __future__ import annotations

from typing import ClassVar


class SamrefError(Exception):
    """Base of every error whose message may be shown to a person as it is."""

    code: ClassVar[str] = "request"


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


class SupersededError(SessionError):
    """A newer prompt of the same session took this one's place."""


class StaleError(SessionError):
    """Another tab changed the image since this one looked."""

    code = "stale"


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


class RequestError(SamrefError):
    """A request cannot be read: a bug of the page, or a tampered one."""


class BusyError(SamrefError):
    """The server has too much to do just now."""

    code = "busy"


class SettingsError(SamrefError):
    """A setting has a value that cannot be used."""

    code = "settings"


class DataError(SamrefError):
    """A data set folder does not hold what was expected."""

    code = "data"


class TrainingError(SamrefError):
    """Training cannot go on; the last good state is kept."""

    code = "training"


class SpaceError(SamrefError):
    """The Spacefile, the folder made of it, or the Space cannot be used; a line for each fault."""

    code = "space"

    @property
    def faults(self) -> tuple[str, ...]:
        """Each fault as a sentence."""
        return tuple(str(self).splitlines())
