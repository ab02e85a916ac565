#!/bin/bash
# Builds the wheel as `python -m build` does, installs it into an empty environment and asks it about its own picture.
#
#   tools/try_wheel.sh [PYTHON]
#
# Needs the network (build, the engines' packages); everything is made in a temporary folder and removed.
set -euo pipefail

python=${1:-python3}
source=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH

mkdir "$folder/source"
git -C "$source" ls-files -z | tar -C "$source" --null --files-from=- --create | tar -C "$folder/source" --extract
"$python" -m venv "$folder/build"
"$folder/build/bin/pip" install --quiet --disable-pip-version-check build
"$folder/build/bin/python" -m build --outdir "$folder/dist" "$folder/source" 2> /dev/null | tail -1
"$python" -m venv "$folder/empty"
"$folder/empty/bin/pip" install --quiet --disable-pip-version-check "$folder"/dist/*.whl
du --bytes "$folder"/dist/*.whl
cd "$folder"
"$folder/empty/bin/segzero" --version
"$folder/empty/bin/segzero" ground table "the mug left of the yellow ball" --out found.png
test -s found.png
