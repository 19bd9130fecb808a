#!/bin/sh
# Makes the environment of tests/readers: the programs that exports are for, apart from samref's own packages, because
# their pins conflict with ours and with each other. No torch. Usage: install.sh FOLDER
set -eu
folder=$1
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet \
    'datumaro>=1.13,<2' 'supervision>=0.31,<0.32' 'faster-coco-eval>=1.8,<2' 'loguru>=0.7,<1' 'tifffile>=2025.1' \
    'fsspec>=2025.1' 'pydantic-xml>=2.17'
# Only single files of these are used; what else they ask for (a window, code generators, a server) is left out.
"$folder/bin/python" -m pip install --quiet --no-deps \
    'label-studio-sdk>=2.1,<3' 'labelme>=6.3,<7' 'cvat-sdk>=2.80,<3' 'labelformat>=0.1.17,<0.2'
