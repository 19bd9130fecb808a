"""The page: one canvas that fills the window, and two events that carry everything."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read by Gradio when it is imported

import gradio as gr

from samref.web.canvas import KEEP_EVENT, SEND_EVENT, build_canvas
from samref.web.handlers import Handlers

__all__ = ["STATIC_FOLDER", "build_page", "launch_options"]

STATIC_FOLDER = Path(__file__).parent / "static"

PAGE_CSS = """
footer, .gradio-container > .main > .wrap > .footer { display: none !important; }
.gradio-container, .gradio-container > .main, .gradio-container .wrap {
  padding: 0 !important; max-width: none !important;
}
html, body { overscroll-behavior: none; }
"""


def build_page(handlers: Handlers, version: str) -> gr.Blocks:
    """The page around ``handlers``.

    Args:
        handlers: what answers the page's requests.
        version: part of the modules' address, so that no browser mixes two versions.
    """
    page: gr.Blocks
    with gr.Blocks(title="samref", analytics_enabled=False, fill_height=True, fill_width=True) as page:
        canvas = build_canvas(f"samref/static/{version}/main.js")

        async def send(event: gr.EventData, request: gr.Request) -> AsyncIterator[Any]:
            answered = False
            async for answer in handlers.send(_payload(event), str(request.session_hash)):
                answered = True
                yield answer
            if not answered:
                yield gr.skip()  # Gradio would empty the value otherwise

        async def keep(event: gr.EventData, request: gr.Request) -> None:
            await handlers.keep(_payload(event), str(request.session_hash))

        async def closed(request: gr.Request) -> None:
            handlers.forget_tab(str(request.session_hash))

        # "multiple": "once" would drop clicks silently, "always_last" would send the first event's data again.
        getattr(canvas, SEND_EVENT)(
            send,
            inputs=None,
            outputs=canvas,
            show_progress="hidden",
            trigger_mode="multiple",
            concurrency_limit=None,
            concurrency_id="samref",
            api_visibility="private",
        )
        getattr(canvas, KEEP_EVENT)(
            keep,
            inputs=None,
            outputs=None,
            show_progress="hidden",
            trigger_mode="once",
            concurrency_limit=None,
            concurrency_id="samref-keep",
            api_visibility="private",
        )
        page.unload(closed)
    return page


def _payload(event: gr.EventData) -> Any:
    return event._data  # noqa: SLF001 - Gradio has no other name for the whole of it


def launch_options(version: str) -> dict[str, Any]:
    """What ``launch`` needs for the page to look as intended and to ask nothing of other servers."""
    return {
        "css": PAGE_CSS,
        "head": f'<link rel="stylesheet" href="samref/static/{version}/samref.css">',
        "theme": gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "show_error": False,
        "share": False,
        "quiet": True,
    }
