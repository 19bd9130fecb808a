"""The labelling page as ``demo``, for Gradio's tools and hosts; ``python app.py --help`` lists its options."""

import os
import sys

if os.environ.get("SPACES_ZERO_GPU"):  # before anything that may look for a GPU
    import spaces  # noqa: F401

from samref.cli.main import main
from samref.cli.serve import demo

if __name__ == "__main__" and not demo.is_reloading:
    main(["serve", *sys.argv[1:]])
