"""A Python that does at once what an installation asks of it, and fails as the test's file ``plan.json`` says.

It is started as an interpreter is: ``-I -c QUESTION`` (what are you?), ``-m venv FOLDER``, and in what that makes
``-m pip install``, ``-c "import ..."`` and ``-m segzero_ros.cli ground``. Every start is a line in ``started``.
"""

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent  # of the copy that a test made
PLAN = json.loads((HERE / "plan.json").read_text())
ANSWER = {"code": "OK", "instances": [{}], "timing": {"total_ms": 70.0}}


def main(arguments):
    words = [word for word in arguments if word != "-I"]
    step = {"-c": "question" if "sysconfig" in words[1] else "import"}.get(words[0]) or words[1]
    with (HERE / "started").open("a") as stream:
        stream.write(json.dumps({"step": step, "words": words, "variables": dict(os.environ)}) + "\n")
    said, status = PLAN.get(step, ["", 0])
    if said:
        print(said)
    if status:
        return status
    if step == "question":
        own = {"python": str(HERE / "python"), "version": [3, 12, 1], "machine": "x86_64"}
        print(json.dumps(own | {"free_threaded": False, "cpython": True, "venv": True} | PLAN["is"]))
    elif step == "venv":
        make(Path(words[-1]))
    elif step == "segzero_ros.cli" and not said:
        print(json.dumps(ANSWER))
    return 0


def make(folder):
    (folder / "lib" / "python3.12" / "site-packages").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(HERE / "python")
    (folder / "bin" / "pip").touch()
    (folder / "pyvenv.cfg").touch()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
