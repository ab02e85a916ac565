#!/bin/bash
# Builds the wheel as `python -m build` does, installs it into an empty environment and asks it about its own picture.
#
#   tools/try_wheel.sh [PYTHON]
#   SEGZERO_WITH_MESSAGES=$PWD/.venv tools/try_wheel.sh PYTHON      # a wheel with the messages, beside ROS 2's wheels
#
# With messages, a node from that environment is asked as well. PYTHON: python3, or one as new as .venv's.
# Needs the network (build, the engines' packages); everything is made in a temporary folder and removed.
set -euo pipefail

python=${1:-python3}
source=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
processes=()
finish() {
    for process in "${processes[@]}"; do kill -INT "$process" 2> /dev/null && wait "$process" || true; done
    rm -rf "$folder"
}
trap finish EXIT
unset PYTHONPATH
if [[ ${SEGZERO_WITH_MESSAGES:-} == 1 ]]; then export SEGZERO_WITH_MESSAGES=$source/.venv; fi

mkdir "$folder/source"
git -C "$source" ls-files -z | tar -C "$source" --null --files-from=- --create | tar -C "$folder/source" --extract
"$python" -m venv "$folder/build"
"$folder/build/bin/pip" install --quiet --disable-pip-version-check build
"$folder/build/bin/python" -m build --outdir "$folder/dist" "$folder/source" > "$folder/build.log" 2>&1 ||
    { tail -30 "$folder/build.log"; exit 1; }
tail -1 "$folder/build.log"
"$python" -m venv "$folder/empty"
wanted=("$folder"/dist/*.whl)
if [[ -n ${SEGZERO_WITH_MESSAGES:-} ]]; then wanted+=(-r "$folder/source/requirements/ros.txt"); fi
"$folder/empty/bin/pip" install --quiet --disable-pip-version-check "${wanted[@]}"
du --bytes "$folder"/dist/*.whl
mkdir "$folder/home"
cd "$folder/home"
export HOME=$folder/home
"$folder/empty/bin/segzero" --version
"$folder/empty/bin/segzero" ground table "the mug left of the yellow ball" --out found.png
test -s found.png
if [[ -z ${SEGZERO_WITH_MESSAGES:-} ]]; then exit; fi

export ROS_DOMAIN_ID=$((100 + RANDOM % 100)) ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
picture=$("$folder/empty/bin/python" -c "import segzero_ros.cli as c; print(c.__path__[0])")/table.jpg
"$folder/empty/bin/python" "$source/tools/still_camera.py" "$picture" > camera.log 2>&1 &
processes+=($!)
"$folder/empty/bin/python" -m segzero_ros.ros.executor.process --ros-args -p bundle:=tabletop > node.log 2>&1 &
processes+=($!)
"$folder/empty/bin/segzero" say "the mug left of the yellow ball" --wait 60 --timeout 60 || { cat node.log; exit 1; }
