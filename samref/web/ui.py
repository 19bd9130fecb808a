"""The page: one canvas that fills the window."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read by Gradio when it is imported

import gradio as gr

from samref.web.canvas import build_canvas

__all__ = ["STATIC_FOLDER", "build_page", "launch_options"]

STATIC_FOLDER = Path(__file__).parent / "static"

PAGE_CSS = """
footer, .gradio-container > .main > .wrap > .footer { display: none !important; }
.gradio-container, .gradio-container > .main, .gradio-container .wrap {
  padding: 0 !important; max-width: none !important;
}
html, body { overscroll-behavior: none; }
"""


def build_page(version: str) -> gr.Blocks:
    """The page; it has no event of Gradio's, since its module speaks to our own routes.

    Args:
        version: part of the modules' address, so that no browser mixes two versions.
    """
    page: gr.Blocks
    with gr.Blocks(title="samref", analytics_enabled=False, fill_height=True, fill_width=True) as page:
        build_canvas(f"samref/static/{version}/main.js")
    return page


def launch_options(version: str) -> dict[str, Any]:
    """What ``launch`` needs for the page to look as intended and to ask nothing of other servers."""
    return {
        "css": PAGE_CSS,
        "head": f'<link rel="stylesheet" href="samref/static/{version}/samref.css">',
        "theme": gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "_frontend": False,  # no request to itself at start, which a busy machine does not answer in three seconds
        "show_error": False,
        "share": False,
        "quiet": True,
    }
