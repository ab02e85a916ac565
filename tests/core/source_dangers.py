"""Finds what must not be in the source: running what was read, a shell, code from files, a server for the whole
world, a certificate that is not looked at, a file that anybody may write.

Covered: the spellings that people use: modules and functions under other names, ``getattr`` with a constant, keywords
by ``**``. Not covered: names put together while the program runs.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

# What runs what was read, hands a string to a shell, loads code from a file or writes where an archive says, by its
# full name; of one that ends in a dot all that begins so.
RUNNING = (
    *("eval", "exec", "compile", "__import__", "runpy.run_path", "execfile", "imp.", "code.", "pty.spawn"),
    *(
        "os.system",
        "os.popen",
        "os.exec",
        "os.spawn",
        "os.posix_spawn",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
    ),
    *("asyncio.create_subprocess_shell", "asyncio.subprocess.create_subprocess_shell", "commands.getoutput"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "yaml.full_load_all"),
    *("yaml.UnsafeLoader", "yaml.FullLoader", "yaml.Loader", "ruamel.yaml.load", "jsonpickle.decode"),
    *(
        "torch.hub.load",
        "torch.jit.load",
        "torch.package.PackageImporter",
        "torch.ops.load_library",
        "torch.classes.load_library",
    ),
    *(
        "torch.utils.cpp_extension.",
        "joblib.load",
        "pandas.read_pickle",
        "numpy.lib.format.read_array",
        "numpy.memmap.loads",
    ),
    *("onnx.load_external_data_for_model", "onnx.external_data_helper.", "ctypes.cdll.", "ctypes.CDLL", "ctypes.PyDLL"),
    *("ctypes.windll.", "importlib.machinery.", "importlib.util.spec_from_file_location"),
    *("shutil.unpack_archive", "ssl._create_unverified_context", "logging.config.listen", "tempfile.mktemp"),
)
RUNNING_METHODS = {"extractall", "dlopen", "LoadLibrary", "load_library", "create_subprocess_shell", "subprocess_shell"}
# Calls that are dangerous but for what they are given: full name -> what has to be given.
UNLESS_GIVEN = {
    "torch.load": ("weights_only", "True"),
    "torch.serialization.load": ("weights_only", "True"),
    "onnx.load": ("load_external_data", "False"),
    "onnx.load_model": ("load_external_data", "False"),
    "tarfile.TarFile.extract": ("filter", "'data'"),
}
UNSAFE_KEYWORDS = {"shell", "trust_remote_code", "allow_pickle"}
UNSAFE_MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "pickle5",
    "dill",
    "marshal",
    "shelve",
    "cloudpickle",
    "jsonpickle",
    "imp",
}
# Parts of a module that is harmless otherwise: they unpickle what comes over a socket.
UNSAFE_PARTS = {"multiprocessing.connection", "multiprocessing.managers", "multiprocessing.dummy.connection"}
BUILTINS = ("builtins.", "__builtins__.")
SHELLS = re.compile(r"(/bin/|/usr/bin/)?(ba|da|z|k)?sh")
# An address that stands for all of this machine's, by itself or in front of a port.
EVERYWHERE = re.compile(
    r"(.*://)?(0|0\.0\.0\.0|0x0+|\[?(::|0:0:0:0:0:0:0:0|::0|::ffff:0\.0\.0\.0)\]?|\*(?=:))(:\d*)?(/.*)?", re.ASCII
)
CUTS = {
    "split",
    "rsplit",
    "partition",
    "rpartition",
    "join",
    "replace",
    "removeprefix",
    "removesuffix",
}  # text, no address
SERVERS = {
    *("bind", "create_server", "start_server", "create_datagram_endpoint", "HTTPServer", "ThreadingHTTPServer"),
    *("TCPServer", "UDPServer", "ThreadingTCPServer", "ThreadingUDPServer", "SimpleXMLRPCServer", "make_server", "run"),
}


def dangers(file: Path) -> Iterator[str]:
    """Every way in ``file`` to run what was read, to hand a string to a shell, or to listen to the whole world."""
    tree = ast.parse(file.read_text("utf-8"))
    names = full_names(tree)
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings do nothing
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    texts |= {id(word) for call in calls if getattr(call.func, "attr", "") in CUTS for word in call.args}
    called = {full_name(call.func, names) for call in calls}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (f"{file}:{node.lineno}: {danger}" for danger in call_dangers(node, names))
        elif id(node) not in texts and listens_everywhere(node):
            yield f"{file}:{node.lineno}: listens everywhere"
        elif trusts_anybody(node):
            yield f"{file}:{node.lineno}: trusts any certificate"
        elif isinstance(node, ast.Dict):
            yield from (f"{file}:{node.lineno}: {name}" for name in unsafe_items(node))
    unsafe = (name for name in imported(tree) if name.partition(".")[0] in UNSAFE_MODULES or name in UNSAFE_PARTS)
    yield from (f"{file}: {name}" for name in unsafe)
    yield from (f"{file}: {name}" for name in sorted(set(names.values()) - called) if runs(name))


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""
            yield from (name for alias in node.names if (name := f"{node.module}.{alias.name}") in UNSAFE_PARTS)


def full_names(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for: {"np": "numpy", "sh": "os.system"}; a name that was given another as well."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute):
            found |= {
                target.id: full_name(node.value, found)
                for target in node.targets
                if isinstance(target, ast.Name) and runs(full_name(node.value, found))
            }
    return found


def full_name(node: ast.expr, names: Mapping[str, str]) -> str:
    """The dotted name that ``node`` stands for, also of getattr(os, "system") and vars(os)["system"]."""
    text = _dotted(node)
    first, dot, rest = text.partition(".")
    text = f"{names.get(first, first)}{dot}{rest}"
    for prefix in BUILTINS:
        text = text.removeprefix(prefix)
    return text


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}".replace(".__dict__", "")
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return f"{_dotted(node.value)}.{node.slice.value}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        words = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        if node.func.id == "getattr" and words:
            return f"{_dotted(node.args[0])}.{words[0]}"
        if node.func.id in ("vars", "__import__") and node.args:
            return str(words[0]) if words else _dotted(node.args[0])
        return {"globals": "builtins", "locals": "builtins"}.get(node.func.id, f"{node.func.id}()")
    if isinstance(node, ast.Call) and _dotted(node.func).endswith("import_module") and node.args:
        return str(getattr(node.args[0], "value", "?"))
    return node.id if isinstance(node, ast.Name) else "?"


def runs(name: str) -> bool:
    families = ("os.exec", "os.spawn", "os.posix_spawn")
    return name in RUNNING or name.startswith((*families, *(known for known in RUNNING if known.endswith("."))))


def call_dangers(call: ast.Call, names: Mapping[str, str]) -> Iterator[str]:
    called = full_name(call.func, names)
    method = called.rpartition(".")[2]
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    loads_nothing = called == "ctypes.CDLL" and [ast.unparse(a) for a in call.args] == ["None"]  # this process itself
    if (runs(called) or method in RUNNING_METHODS) and not loads_nothing:
        yield called
    elif "pickle" in method:
        yield f"{called} reads pickles"
    if called.endswith("import_module") and call.args and _constant(call.args[0]) in UNSAFE_MODULES:
        yield f"imports {_constant(call.args[0])}"
    for name, (keyword, value) in UNLESS_GIVEN.items():
        if called == name and given.get(keyword) != value:
            yield f"{name} without {keyword}={value}"
    yield from (str(name) for name in given if name in UNSAFE_KEYWORDS and given[name] not in ("False", "None", "0"))
    if called == "numpy.load" and len(call.args) > 2:
        yield "allow_pickle by its place"
    yield from server_dangers(call, method, given)
    if given.get("verify") == "False" and called.startswith(("requests.", "httpx.", "aiohttp.", "urllib3.")):
        yield "trusts any certificate"
    yield from file_dangers(call, called)
    if call.args and isinstance(call.args[0], ast.List | ast.Tuple):
        words = [_constant(element) for element in call.args[0].elts[:2]]
        if len(words) == 2 and SHELLS.fullmatch(str(words[0])) and re.fullmatch("-[a-z]*c", str(words[1])):
            yield "a shell by its name"


def server_dangers(call: ast.Call, method: str, given: Mapping[str | None, str]) -> Iterator[str]:
    """A server that is given no address, which means all of them."""
    addresses = [element for argument in call.args[:2] for element in _first(argument)] if method in SERVERS else []
    if method in ("start_server", "create_server") and len(call.args) > 1:
        addresses.append(call.args[1])
    if any(isinstance(node, ast.Constant) and node.value in ("", "0", None) for node in addresses):
        yield "listens everywhere"
    if any(given.get(name) in ("''", "None") for name in ("host", "bind", "address")) and method != "field":
        yield "listens everywhere"


def file_dangers(call: ast.Call, called: str) -> Iterator[str]:
    """A file, or from now on every one, that anybody may write."""
    modes = [value for node in call.args[:2] if type(value := _constant(node)) is int]
    if called.endswith("chmod") and any(mode & 0o002 for mode in modes):
        yield "writable by anybody"
    if called == "os.umask" and any(not mode & 0o002 for mode in modes):
        yield "writable by anybody"


def trusts_anybody(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "CERT_NONE"
    targets = node.targets if isinstance(node, ast.Assign) and _constant(node.value) is False else []
    return any(isinstance(target, ast.Attribute) and target.attr == "check_hostname" for target in targets)


def _first(argument: ast.expr) -> list[ast.expr]:
    return argument.elts[:1] if isinstance(argument, ast.Tuple) and len(argument.elts) > 1 else []


def _constant(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def listens_everywhere(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in ("INADDR_ANY", "in6addr_any")
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, str) and len(value) > 1 and EVERYWHERE.fullmatch(value) is not None


def unsafe_items(node: ast.Dict) -> list[str]:
    """Unsafe keywords in a dict, which may be handed on as ``**options``."""
    pairs = [(_constant(key), _constant(value)) for key, value in zip(node.keys, node.values, strict=True) if key]
    return [str(name) for name, value in pairs if name in UNSAFE_KEYWORDS and value is True]
