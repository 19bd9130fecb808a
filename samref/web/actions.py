"""Verbs that change an image's session, read from requests."""

from __future__ import annotations

from collections.abc import Callable

from samref.inference.session import Session
from samref.labels.classes import MAX_NAME
from samref.web.open_image import Action
from samref.web.wire import Request, RequestError

__all__ = ["action_of"]


def action_of(request: Request, usable_model: Callable[[str], str]) -> Action:
    """What a session shall do.

    Args:
        request: any verb that changes a session, but for prompts.
        usable_model: gives the name of a model back, or refuses it.

    Raises:
        RequestError: an argument is missing or of the wrong kind, or there is no such verb.
        ModelError: that model cannot be used.
    """
    match request.verb:
        case "undo":
            return Session.undo
        case "redo":
            return Session.redo
        case "clear":
            return Session.clear
        case "commit":
            class_id, author = request.integer("class_id"), request.optional_text("author", longest=MAX_NAME)
            return lambda session: session.commit(class_id, author or "")
        case "edit":
            edited = request.identifier("id")
            return lambda session: session.edit(edited)
        case "delete":
            deleted = request.identifier("id")
            return lambda session: session.delete(deleted)
        case "set_visible":
            shown, visible = request.identifier("id"), request.flag("visible")
            return lambda session: session.set_visible(shown, visible)
        case "reclass":
            reclassed, new_class = request.identifier("id"), request.integer("class_id")
            return lambda session: session.reclass(reclassed, new_class)
        case "use_model":
            name = usable_model(request.text("name"))
            return lambda session: session.use_model(name)
        case _:
            raise RequestError(f"The server knows no verb {request.verb!r}. Reload the page.")
