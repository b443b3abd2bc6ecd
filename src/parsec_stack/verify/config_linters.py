"""Check the guide's configuration files with the programs that read them."""

from __future__ import annotations

from pathlib import Path

from guidewalk.linters import Linter, each
from guidewalk.tool import Tool, output_of
from parsec_stack.verify import compose, env_files, nginx

SUPERVISOR = Tool("supervisord", "supervisor", ["--version"])


def of_files(files: dict[str, Path], folder: Path) -> list[Linter]:
    """Return each program with the files that it checks; all other files are in the folder too."""
    texts = [path.read_text() for path in folder.iterdir() if path.is_file()]
    given = env_files.required("".join(texts))
    yaml = {name: path for name, path in files.items() if path.suffix in (".yaml", ".yml")}
    beside = [path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")]
    compose.provide_env_files(folder, [path.read_text() for path in beside])
    env = {name: path for name, path in files.items() if path.suffix == ".env"}
    servers = {name: path for name, path in files.items() if "nginx" in name}
    supervised = {name: path for name, path in files.items() if name == "supervisord.conf"}
    return [
        (nginx.TOOL, lambda: each(servers, nginx.problems)),
        (compose.TOOL, lambda: each(yaml, lambda path: compose.problems(path, given))),
        (compose.TOOL, lambda: env_files.problems(env) if env else {}),
        (SUPERVISOR, lambda: each(supervised, supervisor)),
    ]


def supervisor(path: Path) -> list[str]:
    """Return what supervisord's own parser objects to in its configuration."""
    for folder in ("log", "run"):
        (path.parent / folder).mkdir(exist_ok=True)
    parse = (
        "import sys; from supervisor.options import ServerOptions as O; "
        "O().realize(['-n', '-c', sys.argv[1]])"
    )
    interpreter = Path(SUPERVISOR.path).with_name("python")
    said = output_of([str(interpreter), "-c", parse, path.name], path.parent)
    return [f"supervisord: {said.last_line}"] if said.status else []
