"""What pip, venv and uv say when they fail, in one line that says what to do.

The order matters: without a network pip ends with "no matching distribution", too.
"""

import re

_NO_NETWORK = (
    r"ProxyError|Temporary failure in name resolution|Name or service not known|Failed to resolve"
    r"|Network is unreachable|Connection(Error| refused| reset| aborted)|NewConnectionError|Read timed out"
    r"|ConnectTimeout|dns error|error sending request|Could not connect"
)
_USE_A_MIRROR = (
    "pip's index could not be reached; connect the network and repeat, or point pip at a mirror (PIP_INDEX_URL) or at "
    "a folder of wheels (PIP_NO_INDEX=1 PIP_FIND_LINKS=DIR)"
)
_OTHER_FILES = (
    "a file is not the one that was pinned: the index or pip's cache gives out another; empty the cache "
    "(python3 -m pip cache purge) and repeat, or take another index"
)
_CAUSES = (
    (r"No space left on device|Disk quota exceeded", "the disk is full; free some, or give another place with --dir"),
    (
        r"ensurepip is not available|No module named '?(venv|ensurepip)|ensurepip.*non-zero exit status",
        "this Python cannot make virtual environments; Ubuntu, Debian: apt install {python}-venv",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError",
        "the index's certificate is not trusted; a proxy's own one goes into pip's setting `cert` (PIP_CERT)",
    ),
    (_NO_NETWORK, _USE_A_MIRROR),
    (r"DO NOT MATCH THE HASHES|[Hh]ash mismatch", _OTHER_FILES),
    (
        r"No matching distribution found|Could not find a version|has no wheels|no version of",
        "the index has no wheel of {missing} for this Python and machine; take another Python with --python",
    ),
    (r"Permission denied|Read-only file system", "the place cannot be written; give another one with --dir"),
)
_MISSING = re.compile(r"(?:requirement|distribution found for) ([A-Za-z0-9._-]+)")


def explain(output: str, python: str) -> str:
    """Return why the step whose ``output`` this is failed, and what to do.

    ``python``: the name of its interpreter, like "python3.12". What is not known is the output's last line.
    """
    for pattern, advice in _CAUSES:
        if re.search(pattern, output):
            found = _MISSING.search(output)
            return advice.format(python=python, missing=found.group(1) if found else "a package")
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("WARNING")]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
    return f"it said: {(errors or lines or ['nothing'])[-1][:300]}"
