"""The labelling page as ``demo``, for Gradio's tools and hosts; ``python app.py --help`` lists its options."""

import sys

from samref.cli.main import main
from samref.cli.serve import demo

if __name__ == "__main__" and not demo.is_reloading:
    main(["serve", *sys.argv[1:]])
