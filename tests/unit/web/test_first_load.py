"""The first load: what is packed, what is named in the page, and that nothing but comments is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from samref.web.first_load import FirstLoad, PackedFiles, frontend_files, modules_behind, without_comments
from samref.web.page import FRONTEND_FOLDER, STATIC_FOLDER, files_of_first_view, modules_for_work

PAGE = '<html><head><script>config = {"theme_hash":"ab12"}</script></head><body>ü</body></html>'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "styles").mkdir()
    (tmp_path / "main.js").write_text('import { h } from "./dom.js";\nimport {\n  a,\n  b,\n} from "./sub/b.js";\n')
    (tmp_path / "dom.js").write_text(
        '/** No import "./none.js"; */\nexport const h = 1;\nconst late = import("./late.js");\n'
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.js").write_text('export { h } from "../dom.js";\nimport "./c.js";\n')
    (tmp_path / "sub" / "c.js").write_text("")
    (tmp_path / "page.css").write_text('@import url("styles/a.css");\n\n.root { color: red }\n')
    (tmp_path / "styles" / "a.css").write_text(".a { color: blue }\n")
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    def page(_: object) -> Response:
        return HTMLResponse(PAGE)

    def note(_: object) -> Response:
        return PlainTextResponse("</head>")

    files = PackedFiles(folder, caching="no-cache")
    routes = [Route("/", page), Route("/note", note), Mount("/files", app=files)]
    links = Middleware(FirstLoad, files=["s/page.css", "s/main.js", "assets/a.css"], sheet="s/page.css")
    with TestClient(Starlette(routes=routes, middleware=[links])) as made:
        yield made


def test_modules_are_followed_through_their_imports_and_not_through_later_ones(folder: Path) -> None:
    assert modules_behind(folder, "main.js") == ["main.js", "dom.js", "sub/b.js", "sub/c.js"]


def test_the_page_names_its_files_in_its_head(client: TestClient) -> None:
    answer = client.get("/")
    assert int(answer.headers["content-length"]) == len(answer.content)
    head, _, body = answer.text.partition("</head>")
    assert body == PAGE.partition("</head>")[2]
    assert re.findall(r"<link (.*?)>", head) == [
        'rel="stylesheet" href="s/page.css"',
        'rel="modulepreload" href="s/main.js"',
        'rel="preload" as="style" crossorigin href="assets/a.css"',
        'rel="preload" as="style" href="theme.css?v=ab12"',
    ]


def test_what_is_no_page_is_left_as_it_is(client: TestClient) -> None:
    assert client.get("/note").text == "</head>"
    assert client.post("/").status_code == 405


def test_a_style_sheet_comes_with_those_it_imports_and_is_known_again(client: TestClient, folder: Path) -> None:
    answer = client.get("/files/page.css")
    assert answer.headers["content-encoding"] == "br"
    assert answer.text == ".a { color: blue }\n\n\n.root { color: red }\n"
    known = {"If-None-Match": answer.headers["etag"]}
    assert client.get("/files/page.css", headers=known).status_code == 304
    (folder / "styles" / "a.css").write_text(".a { color: green }\n")
    assert "green" in client.get("/files/page.css", headers=known).text


def test_who_takes_no_brotli_gets_the_file_itself(client: TestClient, folder: Path) -> None:
    for name in ("page.css", "dom.js"):
        answer = client.get(f"/files/{name}", headers={"Accept-Encoding": "gzip"})
        assert answer.content == (folder / name).read_bytes()


def test_comments_on_lines_of_their_own_go_and_lines_keep_their_numbers() -> None:
    module = ["/**", " * What it is.", " */", "const a = 1; // stays", "  // goes", 'const b = "// stays";']
    module += ["/** @license X */", "/** a */ f();", ""]
    kept = ["", "", "", "const a = 1; // stays", "", 'const b = "// stays";', "/** @license X */", "/** a */ f();", ""]
    assert without_comments("\n".join(module)).split("\n") == kept


@pytest.mark.parametrize("file", sorted(STATIC_FOLDER.rglob("*.js")), ids=lambda file: file.stem)
def test_nothing_that_looks_like_a_comment_stands_in_a_text_of_several_lines(file: Path) -> None:
    """A line of a template literal may look like one; what is taken out must be comments only."""
    module = file.read_text(encoding="utf-8")
    if len(max(module.splitlines(), key=len, default="")) > 1000:
        pytest.skip("made by a builder")
    code = re.sub(r"/\*.*?\*/|(?<![:\\\"'`\w])//[^\n]*", "", module, flags=re.DOTALL)
    stripped = re.sub(r"/\*.*?\*/|(?<![:\\\"'`\w])//[^\n]*", "", without_comments(module), flags=re.DOTALL)
    assert code.split() == stripped.split()
    for text in re.findall(r"`[^`]*`", code):
        assert not re.search(r"^\s*(//|/\*\*)", text, re.MULTILINE)


def test_the_first_view_of_this_gradio_is_known() -> None:
    found = frontend_files(FRONTEND_FOLDER)
    for part in ("Blocks-", "HTML-", "core-"):
        assert any(name.startswith(part) and name.endswith(".js") for name in found), f"no {part} among {found}"
    assert len(found) < 60, "not the whole of Gradio"
    assert set(modules_for_work()).isdisjoint(Path(name).name for name in files_of_first_view())
    assert "canvas.js" in modules_for_work()


def test_a_gradio_that_was_built_in_another_way_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<script src='app.js'></script>")
    assert frontend_files(tmp_path) == []
    (tmp_path / "index.html").write_text('<script src="./assets/index-1.js"></script>')
    (tmp_path / "assets" / "index-1.js").write_text("import(`./late.js`)")
    assert frontend_files(tmp_path) == []
