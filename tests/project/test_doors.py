"""The doors of the house: what only one room may do, and that the rooms above use public names.

files         through `disk`; what a user names is opened where it is read, in the command, in
              `trace.files` and `adapters`, and modules of WebAssembly
objects       through `store`: nothing else knows fsspec or a client of a cloud
sockets       in `server`, `client` and `adapters` alone; pairs of them to processes of our own
environment   in `cli` and `server`, and in `adapters`, whose stacks make objects themselves
foreign AI    in `adapters` alone
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

import pytest

import transit

from .source import LABORATORY, ROOT, Module, dotted, imports, modules, report

Rule = Callable[[Module], Iterator[str]]

FILE_MODULES = {"tempfile", "shutil", "glob", "mmap", "fcntl"}
FILE_CALLS = {
    "open", "io.open", "os.open", "os.fsync", "os.fdatasync", "os.link", "os.rename", "os.replace",
    "os.remove", "os.unlink", "os.mkdir", "os.makedirs", "os.rmdir", "os.listdir", "os.scandir",
    "os.stat", "os.lstat", "os.truncate", "os.symlink", "os.utime", "os.walk", "os.path.exists",
    "os.path.isdir", "os.path.isfile", "os.path.getsize", "os.path.getmtime", "os.path.samefile",
}  # fmt: skip
PATH_METHODS = {"read_bytes", "read_text", "write_bytes", "write_text", "unlink", "rmdir", "touch"}
OBJECT_CLIENTS = {
    "fsspec", "s3fs", "botocore", "aiobotocore", "boto3", "gcsfs", "adlfs", "obstore",
}  # fmt: skip
SOCKET_MODULES = {
    "socket", "socketserver", "ssl", "http", "urllib", "asyncore", "aiohttp", "requests", "httpx",
    "websockets", "uvicorn", "starlette",
}  # fmt: skip
AI_LIBRARIES = {
    "openai", "agents", "anthropic", "claude_agent_sdk", "langgraph", "langchain", "pydantic_ai",
    "inspect_ai", "litellm", "transformers",
}  # fmt: skip
# Names of statuses, and how URLs are written: neither opens a socket.
NO_SOCKETS = {"http", "urllib.parse"}
# Where each thing may be done. What is for tests, and the rigs, may do anything.
FILES_IN = {"descriptors", "disk", "locks", "watches", "cli"}
# What a user names is opened where it is read: files to import, tokens, certificates.
NAMED_BY_USERS = (
    "transit.trace.files.",
    "transit.chat.imports.",
    "transit.chat.classifiers.linear",
    "transit.chat.scoring",
    "transit.adapters.evaluations",
    "transit.views.modules.program",
    "transit.server.tokens",
    "transit.server.certificate",
    "transit.server.run",
    "transit.client.tokens",
)
OBJECTS_IN = {"store"}
SOCKETS_IN = {"server", "client", "adapters"}
ENVIRONMENT_IN = {"adapters", "cli", "server"}
AI_IN = {"adapters"}
TELEMETRY_IN = {"adapters", "server"}
FOR_TESTS = {"testing", LABORATORY}
# Rooms that use public names alone, and the rooms below them that they may enter. Not the client:
# it is the engine's surface once more, and checks what it is given alike (decision 0051).
ABOVE = {
    "protocol": set[str](),
    "trace": {"protocol"},
    "views": {"protocol", "trace"},
    "chat": set[str](),
    # Typed columns and reconcilers of a fleet are those of views.
    "fleet": {"views"},
    # `transit.proof` is public whole: checkpoints and proofs of any log, pure.
    "server": {"protocol", "trace", "views", "chat", "proof"},
    # `transit.environment` has the names of variables, which adapters read too.
    "cli": {
        "protocol",
        "trace",
        "views",
        "chat",
        "fleet",
        "client",
        "server",
        "proof",
        "environment",
    },
}


def outside(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Each import of a module that is not ours, by its dotted name."""
    for node in module.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node, node.module or ""


def imported_elsewhere(module: Module, libraries: set[str], rooms: set[str]) -> Iterator[str]:
    if module.part in rooms | FOR_TESTS:
        return
    for node, name in outside(module):
        if name.partition(".")[0] in libraries:
            yield f"{module.at(node)}: imports {name}"


# Queries of strangers run in processes of their own, at the other end of a pair of sockets; how
# much memory such a process has is a file of the kernel's.
APART = ("transit.views.scans.apart", "transit.views.scans.within")
PAIRS = {"socketpair", "send_fds", "recv_fds", "socket", "SHUT_RDWR"}
ASKS_KERNEL = "transit.views.scans.within"
# How much of a socket's buffer nobody took yet is asked by a call for files.
ASKS_SOCKETS = "transit.server.connections"


def files_elsewhere(module: Module) -> Iterator[str]:
    named = (*NAMED_BY_USERS, ASKS_KERNEL)
    if module.part in FILES_IN | FOR_TESTS or module.name.startswith(named):
        return
    files = FILE_MODULES - {"fcntl"} if module.name == ASKS_SOCKETS else FILE_MODULES
    yield from imported_elsewhere(module, files, FILES_IN)
    for node in module.nodes:
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in FILE_CALLS or name.rpartition(".")[2] in PATH_METHODS:
            yield f"{module.at(node)}: {name}()"


def objects_elsewhere(module: Module) -> Iterator[str]:
    return imported_elsewhere(module, OBJECT_CLIENTS, OBJECTS_IN)


def sockets_elsewhere(module: Module) -> Iterator[str]:
    if module.name in APART:
        for node in module.nodes:
            name = dotted(node) if isinstance(node, ast.Attribute) else ""
            if name.startswith("socket.") and name.removeprefix("socket.") not in PAIRS:
                yield f"{module.at(node)}: {name}"
        return
    if module.part != "store":
        for found in imported_elsewhere(module, SOCKET_MODULES, SOCKETS_IN):
            if found.rpartition(" ")[2] not in NO_SOCKETS:
                yield found
        return
    # The store opens no socket, but it must know what errors of sockets mean.
    opening = {name for name in SOCKET_MODULES if name not in ("socket", "ssl")}
    for found in imported_elsewhere(module, opening, SOCKETS_IN):
        if not found.endswith("urllib.parse"):
            yield found
    for node in module.nodes:
        if (
            isinstance(node, ast.Attribute)
            and dotted(node.value) in ("socket", "ssl")
            and not node.attr.lower().endswith(("error", "timeout"))
        ):
            yield f"{module.at(node)}: {dotted(node)}"


def environment_elsewhere(module: Module) -> Iterator[str]:
    if module.part in ENVIRONMENT_IN | FOR_TESTS:
        return
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and dotted(node) in (
            "os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv",
        ):  # fmt: skip
            yield f"{module.at(node)}: {dotted(node)}"


def ai_elsewhere(module: Module) -> Iterator[str]:
    yield from imported_elsewhere(module, AI_LIBRARIES, AI_IN)
    yield from imported_elsewhere(module, {"opentelemetry"}, TELEMETRY_IN)


def private_names_used_above(module: Module) -> Iterator[str]:
    """A room above the public names takes those, its own modules, and rooms below it."""
    if module.part not in ABOVE:
        return
    public = set(transit.__all__) | {"__version__"}
    rooms = {module.part, *ABOVE[module.part]}
    for node in module.nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            root, _, rest = name.partition(".")
            first = rest.partition(".")[0]
            if root == "transit" and first not in rooms and first and rest not in public:
                yield f"{module.at(node)}: {name} is no public name of transit"


RULES: dict[str, Rule] = {
    "files": files_elsewhere,
    "objects": objects_elsewhere,
    "sockets": sockets_elsewhere,
    "environment": environment_elsewhere,
    "ai": ai_elsewhere,
    "public": private_names_used_above,
}


def made(name: str, source: str) -> Module:
    """A module that is not there."""
    path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
    return Module(name, path, source.splitlines(), ast.parse(source))


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_each_door_is_the_only_one(rule: str) -> None:
    report(finding for module in modules().values() for finding in RULES[rule](module))


@pytest.mark.parametrize(
    ("rule", "name", "source"),
    [
        ("files", "transit.tier.x", "open('a')"),
        ("files", "transit.engine.x", "import os\nos.path.isdir('a')"),
        ("files", "transit.trace.x", "from pathlib import Path\nPath('a').read_text()"),
        ("files", "transit.log.x", "import tempfile"),
        ("objects", "transit.tier.x", "def f():\n    from s3fs.core import S3FileSystem"),
        ("objects", "transit.cli.x", "import fsspec"),
        ("sockets", "transit.tier.x", "import urllib.request"),
        ("sockets", "transit.store.x", "import socket\nsocket.create_connection(('a', 1))"),
        ("sockets", "transit.trace.x", "import http.client"),
        ("environment", "transit.store.x", "import os\nos.environ.get('A')"),
        ("environment", "transit.trace.x", "import os\nos.getenv('A')"),
        ("ai", "transit.trace.x", "import openai"),
        ("public", "transit.trace.x", "from transit.engine.log import Log"),
        ("public", "transit.cli.x", "import transit.format.frame"),
        ("public", "transit.trace.x", "from transit.cli import main"),
        ("public", "transit.cli.x", "from transit import _hidden"),
    ],
)
def test_a_second_door_is_found(rule: str, name: str, source: str) -> None:
    assert list(RULES[rule](made(name, source)))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("transit.disk", "import os\nos.open('a', 0)"),
        ("transit.trace.files.x", "open('a')"),
        ("transit.store.x", "import socket\ntry: pass\nexcept socket.gaierror: pass"),
        ("transit.cli.x", "import os\nos.environ['A']\nopen('a')"),
        ("transit.trace.x", "from transit import Log, open\nfrom transit.trace.x import y"),
        ("transit.cli.x", "from transit import trace, Log\nfrom transit.trace import task"),
        ("rigs.x", "import socket, openai, fsspec"),
    ],
)
def test_what_a_room_may_do_is_not_found(name: str, source: str) -> None:
    assert [each for rule in RULES.values() for each in rule(made(name, source))] == []


def test_no_module_imports_what_is_not_there() -> None:
    """The rules above read imports, so each of ours must resolve."""
    assert sum(1 for module in modules().values() for _ in imports(module)) > 500
