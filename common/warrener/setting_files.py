"""Settings from files: `WARRENER_<SETTING>_FILE` names a file whose one line is the setting.

It is for what must not stand in the environment, which every process of the same user can read, and how containers are
handed their secrets.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from warrener.errors import InvalidSettings

SUFFIX = "_FILE"
MOUNTED = Path("/run/secrets")
"""Where container engines mount secrets, open to all (0444): within a container there is nobody else."""
_LONGEST_BYTES = 64 * 1024


def read_setting_files(environ: Mapping[str, str], variables: Iterable[str]) -> dict[str, str]:
    """Return what the files say, by variable without the suffix. Raises InvalidSettings, naming each that is wrong.

    A file that others can read is refused; its group may, as orchestrators hand out secrets by group.
    """
    found, problems = {}, []
    for variable in variables:
        if path := environ.get(variable + SUFFIX):
            try:
                found[variable] = _content(Path(path))
            except InvalidSettings as error:
                problems.append(f"{variable}{SUFFIX}: {error}")
            if environ.get(variable):
                problems.append(f"{variable}{SUFFIX}: {variable} is set too, and only one of the two can count")
    if problems:
        raise InvalidSettings("\n".join(problems))
    return found


def is_mounted(path: Path) -> bool:
    """Tell whether a file lies where container engines mount secrets."""
    return path.absolute().is_relative_to(MOUNTED)


def is_open_to_others(path: Path) -> bool:
    """Tell whether anybody but the owner may read a file of secrets; raises OSError."""
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077) and not is_mounted(path)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            _refuse_open_to_others(path, stat.S_IMODE(path.stat().st_mode))
            content = file.read(_LONGEST_BYTES + 1)
        text = content.decode().strip()
    except FileNotFoundError:
        raise InvalidSettings(f"there is no file {path}") from None
    except IsADirectoryError:
        raise InvalidSettings(f"{path} is a folder; a mount of a file that is missing makes one") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"{path} is no text in UTF-8") from None
    except OSError as error:
        raise InvalidSettings(f"cannot read {path}: {error.strerror}") from error
    if not text:
        raise InvalidSettings(f"{path} is empty")
    if len(content) > _LONGEST_BYTES or len(text.splitlines()) > 1:
        raise InvalidSettings(f"{path} has more than one line; the setting alone belongs into it")
    return text


def _refuse_open_to_others(path: Path, mode: int) -> None:
    if mode & stat.S_IROTH and not is_mounted(path):
        raise InvalidSettings(f"{path} can be read by others; run: chmod 600 {path}")
