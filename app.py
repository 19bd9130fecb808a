"""Start the labelling page: ``python app.py`` (the same as ``python -m samref serve``). Options: ``--help``."""

from __future__ import annotations

import sys

from samref.__main__ import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
