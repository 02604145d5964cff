"""The workers of users' own modules, as `--app MODULE[:WORKER]` names them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from warrener.errors import InvalidSettings
from warrener.worker import Worker


def load_apps(named: Sequence[str]) -> list[Worker]:
    """Import modules, the current folder first, and find their workers; raises InvalidSettings."""
    here = str(Path.cwd())
    if named and here not in sys.path:
        sys.path.insert(0, here)
    workers: list[Worker] = []
    for text in named:
        workers += [worker for worker in _workers(text) if worker not in workers]
    apps = [worker.app for worker in workers]
    twice = next((app for app in apps if apps.count(app) > 1), None)
    if twice is not None:
        raise InvalidSettings(f"--app: two workers are named {twice!r}; give each Worker(…) a name of its own")
    return workers


def _workers(text: str) -> list[Worker]:
    name, colon, attribute = text.partition(":")
    if not name:
        raise InvalidSettings(f"--app {text!r} names no module; write --app MODULE or --app MODULE:WORKER")
    module = _import(name, text)
    if colon:
        worker = getattr(module, attribute, None)
        if not isinstance(worker, Worker):
            raise InvalidSettings(f"--app {text}: {name} has no warrener.Worker named {attribute!r}")
        return [worker]
    found = [value for value in vars(module).values() if isinstance(value, Worker)]
    if not found:
        raise InvalidSettings(
            f'--app {text}: {name} has no worker; it needs one at its top: worker = warrener.Worker("{_app(name)}")'
        )
    return found


def _import(name: str, text: str) -> ModuleType:
    if name.endswith(".py") or "/" in name:
        raise InvalidSettings(f"--app {text}: give the name of a module, as in `import`: {_app(Path(name).stem)}")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise InvalidSettings(
                f"--app {text}: there is no module {name} here or among the installed ones"
            ) from error
        raise InvalidSettings(f"--app {text}: {name} needs {error.name}, which is not installed") from error
    except SyntaxError as error:
        where = f"{Path(error.filename or name).name}:{error.lineno}"
        raise InvalidSettings(f"--app {text}: cannot be imported: {error.msg} ({where})") from error
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        raise InvalidSettings(f"--app {text}: cannot be imported: {type(error).__name__}: {error} ({where})") from error


def _app(name: str) -> str:
    return name.rpartition(".")[2].replace("_", "-") or "my-app"
