"""The one Gradio component of the page: a constant root element that our ES module takes over.

The template never mentions a property that changes (Gradio would wipe the canvases) and no text of a user (Gradio
evaluates templates as code). The module speaks to our own routes; see ``docs/protocol.md``.
"""

from __future__ import annotations

import gradio as gr

__all__ = ["ON_LOAD", "TEMPLATE", "build_canvas"]

TEMPLATE = """<div id="samref" class="samref-root" tabindex="0">
  <canvas class="samref-photo"></canvas>
  <canvas class="samref-overlay"></canvas>
</div>"""

ON_LOAD = """
const root = element.querySelector(".samref-root");
import(new URL(props.module_url, document.baseURI).href)
  .then((module) => module.mount({ root, base: document.baseURI }))
  .catch((error) => { root.textContent = "The page could not be loaded: " + error.message; });
"""


def build_canvas(module_url: str) -> gr.HTML:
    """Canvas, side panel and everything else a person sees, drawn by ``static/main.js``.

    A plain ``gr.HTML`` and no subclass of it: for each subclass Gradio writes a ``.pyi`` file beside the source.

    Args:
        module_url: address of the ES module, relative to the page.
    """
    return gr.HTML("", html_template=TEMPLATE, js_on_load=ON_LOAD, apply_default_css=False, module_url=module_url)
