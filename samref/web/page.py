"""The page as Gradio sees it: one canvas that fills the window, and the server that is built behind it at launch."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from samref import __version__
from samref.errors import SamrefError, SettingsError, StorageError
from samref.settings import Settings
from samref.web.first_load import frontend_files, modules_behind


def find_room_for_temporary_files() -> None:
    """Choose memory for temporary files where no disk has room; Gradio cannot be imported otherwise."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        memory = Path("/dev/shm")  # noqa: S108 - whoever makes files there gives them a name of their own
        if not os.access(memory, os.W_OK):
            raise StorageError(
                "No disk has room for temporary files. Free some space, or name a folder in the variable TMPDIR."
            ) from error
        tempfile.tempdir = os.environ["TMPDIR"] = str(memory)


find_room_for_temporary_files()
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read by Gradio when it is imported

import gradio as gr  # noqa: E402 - after what it looks for
from gradio.data_classes import BlocksConfigDict  # noqa: E402

STATIC_FOLDER = Path(__file__).parent / "static"

STATIC_ADDRESS = f"samref/static/{__version__}"
"""Holds the version, so that no browser mixes the modules of two."""

FRONTEND_FOLDER = Path(gr.__file__).parent / "templates" / "frontend"
"""Gradio's own page, of which it serves ``assets`` at the address of that name."""

SHEET = f"{STATIC_ADDRESS}/samref.css"

TEMPLATE = """<div id="samref" class="samref-root" tabindex="0">
  <canvas class="samref-photo"></canvas>
  <canvas class="samref-overlay"></canvas>
</div>"""
"""Never mentions a property that changes (Gradio would wipe the canvases) nor a user's text (Gradio runs templates)."""

ON_LOAD = """
const root = element.querySelector(".samref-root");
import(new URL(props.module_url, document.baseURI).href)
  .then((module) => module.mount({ root, base: document.baseURI, later: props.later.split(" ") }))
  .catch((error) => { root.textContent = "The page could not be loaded: " + error.message; });
"""

CSS = """
footer, .gradio-container > .main > .wrap > .footer { display: none !important; }
.gradio-container, .gradio-container > .main, .gradio-container .wrap {
  padding: 0 !important; max-width: none !important;
}
html, body { overscroll-behavior: none; }
.toast-wrap { display: none !important; }
"""

QUEUE_SIZE = 256
"""Of Gradio's queue, for scripts and a GPU that is lent: the page speaks to our own routes (docs/protocol.md).

It is said because Gradio would make it 1 on ZeroGPU, where the second who waits would be turned away.
"""

UPLOADS_VARIABLE = "GRADIO_TEMP_DIR"
"""Where Gradio puts what scripts upload."""


def files_of_first_view() -> list[str]:
    """Addresses, relative to the page, of what it needs before somebody opens an image."""
    entries = ("main.js", "hero.js")  # the second for who comes for the first time
    names = dict.fromkeys(name for entry in entries for name in modules_behind(STATIC_FOLDER, entry))
    own = [f"{STATIC_ADDRESS}/{name}" for name in names]
    return [SHEET, *own, *(f"assets/{name}" for name in frontend_files(FRONTEND_FOLDER))]


def modules_for_work() -> list[str]:
    """Names of our modules that are loaded once the start page stands."""
    first = modules_behind(STATIC_FOLDER, "main.js")
    return [name for name in modules_behind(STATIC_FOLDER, "workbench.js") if name not in first]


def files_to_pack() -> list[Path]:
    """The files behind both."""
    own = (*modules_behind(STATIC_FOLDER, "main.js"), *modules_for_work(), "samref.css")
    assets = FRONTEND_FOLDER / "assets"
    return [*(STATIC_FOLDER / name for name in own), *(assets / name for name in frontend_files(FRONTEND_FOLDER))]


class Behind(Protocol):
    """What answers behind the page."""

    @property
    def application(self) -> dict[str, Any]:
        """Arguments of the web application: own routes, middleware, lifespan."""

    @property
    def uploads(self) -> Path | None:
        """Folder for what scripts upload; None where they may not."""

    def add_endpoints(self, page: gr.Blocks) -> None:
        """Add what Gradio's queue shall run, in the page's open context."""

    def report(self) -> Iterable[str]:
        """What whoever started the server should hear once it runs."""

    def close(self) -> None:
        """Stop in order."""


class Page(gr.Blocks):
    """The page; it is cheap until :meth:`launch`, which builds the server behind it with ``build``."""

    def __init__(self, build: Callable[[Settings], Behind]) -> None:
        super().__init__(title="samref", analytics_enabled=False, fill_height=True, fill_width=True)
        self._build = build
        self._behind: Behind | None = None
        with self:
            # A plain gr.HTML: for each subclass of it Gradio writes a .pyi file beside the source.
            gr.HTML(
                "",
                html_template=TEMPLATE,
                js_on_load=ON_LOAD,
                apply_default_css=False,
                module_url=f"{STATIC_ADDRESS}/main.js",
                later=" ".join(modules_for_work()),
            )
        self.queue(max_size=QUEUE_SIZE, api_open=False)
        self._bare = (set(self.blocks), len(self.children))

    def get_config_file(self) -> BlocksConfigDict:
        """What Gradio's scripts are told about the page.

        They are not told that it is a Space: they would ask Hugging Face about it and load fonts from elsewhere, to
        show a header that the page has no place for.
        """
        config = super().get_config_file()
        config["space_id"] = None
        return config

    @property
    def is_reloading(self) -> bool:
        """Whether Gradio's reloader (``gradio app.py``) runs the script again beside the server it watches for."""
        return bool(self._is_running_in_reload_thread)

    def launch(  # type: ignore[override]  # Gradio's many parameters are passed on by name
        self,
        *,
        settings: Settings | None = None,
        server_name: str | None = None,
        server_port: int | None = None,
        **options: Any,
    ) -> Any:
        """Build the server and start it; the arguments of Gradio's own ``launch`` can be given by name.

        The settings are those of the environment unless given; ``server_name`` and ``server_port`` count only then.

        Raises:
            SamrefError: the address cannot be used, or the server cannot be built.
        """
        if self.is_reloading:
            return super().launch(**_look())
        settings = settings or Settings.from_environment(os.environ, host=server_name, port=server_port)
        check_port_is_free(settings.host, settings.port)
        behind = self._behind = self._build(settings)
        try:
            self._add_endpoints(behind)
            return super().launch(
                server_name=settings.host,
                server_port=settings.port or None,
                **{
                    "max_threads": settings.max_threads,
                    "max_file_size": settings.upload_bytes,
                    **_look(),
                    **options,
                    "app_kwargs": {**options.get("app_kwargs", {}), **behind.application},
                },
            )
        except OSError as error:  # what Gradio makes of a server that took more than five seconds to start
            self.close(verbose=False)
            raise SamrefError(
                f"The web server did not start on {settings.host}:{settings.port} ({error}). If this machine is very "
                "busy, try again; else choose another port with --port."
            ) from error
        except BaseException:
            self.close(verbose=False)
            raise

    def _add_endpoints(self, behind: Behind) -> None:
        """Have Gradio's queue run what is behind the page now, and nothing of an earlier launch."""
        known, count = self._bare
        for number in [number for number in self.blocks if number not in known]:
            del self.blocks[number]
        del self.children[count:]
        self.fns.clear()
        if behind.uploads is not None:
            os.environ[UPLOADS_VARIABLE] = str(behind.uploads)
        with self:
            behind.add_endpoints(self)

    def report(self) -> Iterable[str]:
        """What whoever launched the page should hear."""
        return () if self._behind is None else self._behind.report()

    def close(self, verbose: bool = True) -> None:
        """Take no more requests, then stop the server behind the page."""
        super().close(verbose=verbose)
        if self._behind is not None:
            self._behind.close()
            self._behind = None

    def block_thread(self) -> None:
        """Wait until somebody interrupts, then stop in order."""
        try:
            super().block_thread()
        finally:
            self.close(verbose=False)


def _look() -> dict[str, Any]:
    """What ``launch`` needs for the page to look as intended and to ask nothing of other servers."""
    return {
        "css": CSS,
        "theme": gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "_frontend": False,  # no request to itself at start, which a busy machine does not answer in three seconds
        "show_error": False,
        "pwa": False,  # on a Space it would be on: a manifest and icons, on every first load, for nothing
        "share": False,
        "quiet": True,
    }


def check_port_is_free(host: str, port: int) -> None:
    """Refuse a port that another program has, before anything waits for it; port 0 is always free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"The address {host}:{port} cannot be used ({error.strerror or error}). Choose another with --port."
            ) from error
