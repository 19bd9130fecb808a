"""Write ``assets/browser/onnxruntime``: the parts of onnxruntime-web that the page runs, packed with brotli.

    python tests/tools/vendor_onnxruntime.py [onnxruntime-web-VERSION.tgz]

Without a file ``npm pack`` fetches the version below. Packing takes a minute, and onnxruntime's
Python package must be installed. Each file is written unchanged but for the
packing; ``files.json`` says what they are once unpacked, and tests hold the files to it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import brotli
import onnxruntime

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
FOLDER = Path(__file__).resolve().parents[2] / "assets" / "browser" / "onnxruntime"

PACKED = ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm")
NOTICES = ("LICENSE", "ThirdPartyNotices.txt")
"""The npm package leaves these out; the Python package, built of the same repository, has them."""

WINDOW_BITS = 24
"""The largest that browsers are bound to understand: 16 MB, so the whole of the module."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else _fetched(Path(folder))
        package = hashlib.sha256(path.read_bytes()).hexdigest()
        with tarfile.open(path) as archive:
            contents = {name: _read(archive, f"package/{name}") for name in PACKED}
            assert json.loads(_read(archive, "package/package.json"))["version"] == VERSION
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = {}
    for name in PACKED:
        data = contents[name]
        packed = brotli.compress(data, quality=11, lgwin=WINDOW_BITS)
        short = name.rpartition("/")[2]
        (FOLDER / f"{short}.br").write_bytes(packed)
        files[short] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
            "packed_sha256": hashlib.sha256(packed).hexdigest(),
            "packed_bytes": len(packed),
        }
    notices = Path(onnxruntime.__file__).parent
    for name in NOTICES:
        (FOLDER / name).write_bytes((notices / name).read_bytes())
    said = {"package": PACKAGE, "package_sha256": package, "files": files}
    (FOLDER / "files.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _fetched(folder: Path) -> Path:
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True)
    (path,) = folder.glob("*.tgz")
    return path


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, name
    return file.read()


if __name__ == "__main__":
    main()
