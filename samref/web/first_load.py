"""The first load of the page: few bytes and few round trips, since a visitor may be half a second away.

Files are packed as small as they get, and the document itself names every file that its first view needs. Without
that a browser hears of a module only from the module that imports it: fifteen round trips, one after the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import brotli
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FRONTEND_COMPONENTS = ("column", "html")
"""What Gradio calls the parts that the page is made of."""

ASK_EACH_TIME = "no-cache"
NEVER_CHANGES = "public, max-age=31536000, immutable"

PACKED_FILES = 300
"""Kept in memory, whole and packed, at most."""

_IMPORT = re.compile(r'^(?:import|export)\s(?:[\w$*{},\s]*\sfrom\s+)?"(\.[^"]+)";', re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)[ \t]*$", re.MULTILINE | re.DOTALL)
_LICENCE = re.compile("licen[cs]e|copyright", re.IGNORECASE)
_STYLE_IMPORT = re.compile(r'^@import url\("([^"]+)"\);$', re.MULTILINE)


class PackedFiles(StaticFiles):
    """A folder of modules and style sheets; a style sheet comes with those it imports.

    Args:
        directory: the folder.
        caching: the header Cache-Control.
    """

    _PACKED = frozenset({".js", ".css"})
    _FIRST_LOAD_ONLY = ("last-modified", "accept-ranges")  # a hundred files: each header counts, and the ETag says it

    def __init__(self, directory: Path, *, caching: str) -> None:
        super().__init__(directory=directory)
        self._caching = caching

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        headers = Headers(scope=scope)
        if isinstance(response, FileResponse) and response.status_code == 200:
            file = Path(response.path)
            if file.suffix in self._PACKED and "br" in headers.get("accept-encoding", ""):
                response = await self._compressed(file, response.media_type, headers.get("if-none-match"))
        response.headers.update({"Cache-Control": self._caching, "X-Content-Type-Options": "nosniff"})
        for name in self._FIRST_LOAD_ONLY:
            if name in response.headers:
                del response.headers[name]
        return response

    async def _compressed(self, file: Path, media_type: str | None, known: str | None) -> Response:
        """Brotli at its best, once for each file; Gradio's own is made anew for each request, and quick."""
        data = await asyncio.to_thread(_content, file)
        tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
        headers = {"ETag": tag, "Vary": "Accept-Encoding"}
        if known == tag:
            return Response(status_code=304, headers=headers)
        packed = await asyncio.to_thread(_packed, data)
        return Response(packed, media_type=media_type, headers={**headers, "Content-Encoding": "br"})


def pack_ahead(files: Iterable[Path]) -> None:
    """Pack files before somebody asks for them: all together that takes seconds."""
    for file in files:
        _packed(_content(file))


_packed = lru_cache(maxsize=PACKED_FILES)(brotli.compress)


def _content(file: Path) -> bytes:
    data = file.read_bytes()
    return _with_imported_styles(file) if file.suffix == ".css" else without_comments(data.decode()).encode()


def without_comments(module: str) -> str:
    """A module without the comments that have lines of their own, a fifth of it; its lines keep their numbers.

    What a licence says stays.
    """

    def emptied(match: re.Match[str]) -> str:
        return match[0] if _LICENCE.search(match[0]) else "\n" * match[0].count("\n")

    return _COMMENT.sub(emptied, module)


def _with_imported_styles(file: Path) -> bytes:
    """A style sheet with those it imports in their place; what they name must not depend on where they lie."""

    def imported(match: re.Match[str]) -> str:
        return (file.parent / match[1]).read_text(encoding="utf-8")

    return _STYLE_IMPORT.sub(imported, file.read_text(encoding="utf-8")).encode()


def modules_behind(folder: Path, entry: str) -> list[str]:
    """The module and all that it imports, directly or not, in the order in which a browser finds them.

    Args:
        folder: of the modules.
        entry: file name in it.
    """
    found = [entry]
    for name in found:
        for target in _IMPORT.findall((folder / name).read_text(encoding="utf-8")):
            path = str(PurePosixPath(*_resolved(PurePosixPath(name).parent / target)))
            if path not in found:
                found.append(path)
    return found


def _resolved(path: PurePosixPath) -> Iterator[str]:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    yield from parts


def frontend_files(frontend: Path, components: Sequence[str] = FRONTEND_COMPONENTS) -> list[str]:
    """Names of Gradio's own modules and style sheets for a page of these components, but those its page names itself.

    Gradio's builder wrote into each module what the modules it loads later need. Where a version of Gradio is built in
    another way, nothing is found: then the page loads as it would have without us.

    Args:
        frontend: folder with Gradio's ``index.html`` and ``assets``.
        components: as Gradio calls them.
    """
    assets = frontend / "assets"
    page = (frontend / "index.html").read_text(encoding="utf-8")
    entry = re.search(r'src="\./assets/(index-[\w-]+\.js)"', page)
    if entry is None:
        return []
    main = _loaded_later((assets / entry[1]).read_text(encoding="utf-8"))
    files = dict.fromkeys(name for names in main.values() for name in names)
    for module in [name for name in files if name.endswith(".js")]:
        text = (assets / module).read_text(encoding="utf-8")
        tables = [re.search(rf"\b{name}:\{{.*?import\.meta\.url\)\}}", text) for name in components]
        shown = "".join(table[0] for table in tables if table)
        for name, needed in _loaded_later(text).items():
            if name.startswith("Blocks-") or f"`./{name}`" in shown:
                files.update(dict.fromkeys(needed))
    return [name for name in files if (assets / name).is_file() and f"./assets/{name}" not in page]


def _loaded_later(module: str) -> dict[str, tuple[str, ...]]:
    """For each module that one loads later, itself and the files it needs, by the builder's table."""
    table = re.search(r"\bm\.f=\[(.*?)\]", module)
    if table is None:
        return {}
    names = re.findall(r'"\./([^"]+)"', table[1])
    calls = re.finditer(r"import\(`\./([^`]+)`\)[^,]*,__vite__mapDeps\(\[([\d,]*)\]\)", module)
    return {
        call[1]: (call[1], *(names[int(at)] for at in call[2].split(",") if at and int(at) < len(names)))
        for call in calls
    }


class FirstLoad:
    """ASGI middleware that writes into the page which files its first view needs.

    Args:
        app: what serves the page.
        files: their addresses, relative to the page; style sheets of ours are loaded, all others fetched ahead.
        sheet: address of the style sheet among them that nothing else loads.
    """

    def __init__(self, app: ASGIApp, *, files: Sequence[str], sheet: str) -> None:
        self._app = app
        own = f'<link rel="stylesheet" href="{sheet}">'
        self._links = own + "".join(_hint(file) for file in files if file != sheet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == "/":
            await self._app(scope, receive, _Document(self._links, send))
        else:
            await self._app(scope, receive, send)


class _Document:
    """Takes the parts of a response; a page is passed on with links in its head, anything else as it is."""

    def __init__(self, links: str, send: Send) -> None:
        self._links = links
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(raw=message["headers"])
            if message["status"] == 200 and headers.get("content-type", "").startswith("text/html"):
                self._start = message
                return
        if self._start is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        page = self._with_links(self._body.decode()).encode()
        MutableHeaders(scope=self._start)["content-length"] = str(len(page))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": page})

    def _with_links(self, page: str) -> str:
        theme = re.search(r'"theme_hash":"(\w+)"', page)
        links = self._links + (_hint(f"theme.css?v={theme[1]}") if theme else "")
        head, end, rest = page.partition("</head>")
        return f"{head}{links}{end}{rest}" if end else page


def _hint(address: str) -> str:
    """A link that has a file fetched now; what needs it then finds it there."""
    if address.startswith("theme.css"):
        return f'<link rel="preload" as="style" href="{address}">'
    if address.endswith(".css"):  # of Gradio's builder, whose loader asks in this mode
        return f'<link rel="preload" as="style" crossorigin href="{address}">'
    return f'<link rel="modulepreload" href="{address}">'
