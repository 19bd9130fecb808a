"""The one Gradio component of the page: a constant root element that our ES module takes over.

The template never mentions a property that changes (Gradio would wipe the canvases) and no text of a user (Gradio
evaluates templates as code). Everything that changes travels as JSON text in ``value``; see ``docs/protocol.md``.
"""

from __future__ import annotations

import gradio as gr

__all__ = ["KEEP_EVENT", "ON_LOAD", "SEND_EVENT", "TEMPLATE", "build_canvas"]

SEND_EVENT = "samref_send"
KEEP_EVENT = "samref_keep"

TEMPLATE = """<div id="samref" class="samref-root" tabindex="0">
  <canvas class="samref-photo"></canvas>
  <canvas class="samref-overlay"></canvas>
</div>"""

# Gradio offers an event only when its name stands in this text in quotes.
ON_LOAD = f"""
const root = element.querySelector(".samref-root");
import(new URL(props.module_url, document.baseURI).href)
  .then((module) => module.mount({{
    root, props, watch,
    base: document.baseURI,
    send: (message) => trigger("{SEND_EVENT}", message),
    keep: (message) => trigger("{KEEP_EVENT}", message),
  }}))
  .catch((error) => {{ root.textContent = "The page could not be loaded: " + error.message; }});
"""


def build_canvas(module_url: str) -> gr.HTML:
    """Canvas, side panel and everything else a person sees, drawn by ``static/main.js``.

    A plain ``gr.HTML`` and no subclass of it: for each subclass Gradio writes a ``.pyi`` file beside the source.

    Args:
        module_url: address of the ES module, relative to the page.
    """
    return gr.HTML("", html_template=TEMPLATE, js_on_load=ON_LOAD, apply_default_css=False, module_url=module_url)
