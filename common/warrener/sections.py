"""What a task does: the sections `env`, `stage`, `job` and `call`.

A worker validates the body of an order with the same model that the definition was checked with. In a
definition, text may still hold templates; then what cannot be known yet is not judged (validation context
`unrendered`), and the check is made again on the rendered section, without that context.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    model_validator,
)

from warrener.messages import Json, Kind

UNRENDERED = {"unrendered": True}
"""The validation context of a section whose templates are not rendered."""

OPEN = "{{"
"""What begins a template."""

LITERAL_FIELDS = {
    Kind.ENV: {"lock"},
    Kind.STAGE: set[str](),
    Kind.JOB: {"shell", "files"},
    Kind.CALL: set[str](),
}
"""Fields whose text is taken as it is, never as a template: programs are full of braces."""

MAX_FILES_BYTES = 256 * 1024
"""What `files` of a job may hold together; larger data is staged."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_FUNCTION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?(?:\.[A-Za-z_][A-Za-z0-9_]{0,127}){1,8}")
_ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"


def _as_text(value: Any) -> Any:
    """Turn what a whole-value template gives for a number into the text that a command line needs."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


def _one_line(value: str) -> str:
    if "\0" in value:
        raise ValueError("text for a process cannot contain the character NUL")
    return value


def relative_path(value: str, info: ValidationInfo) -> str:
    """Check that a path lies below the folder it is relative to."""
    if _unknown(info, value):
        return value
    parts = value.split("/")
    if not value or PurePosixPath(value).is_absolute() or ".." in parts or "\0" in value or "\n" in value:
        raise ValueError(f"{value[:80]!r} must be a path below the run's folder: relative, without '..'")
    if PurePosixPath(value) == PurePosixPath():
        raise ValueError(f"{value[:80]!r} names a folder; name a file below the run's folder")
    return value


def has_scheme(place: str) -> bool:
    """Tell whether a place of staging is remote: it begins with a scheme such as `https:` or `file:`."""
    return _SCHEME.match(place) is not None


def _unknown(info: ValidationInfo, *values: str | None) -> bool:
    unrendered = bool(info.context and info.context.get("unrendered"))
    return unrendered and any(value is not None and OPEN in value for value in values)


ProcessText = Annotated[str, BeforeValidator(_as_text), AfterValidator(_one_line)]
RelativePath = Annotated[str, AfterValidator(relative_path)]
EnvName = Annotated[str, StringConstraints(pattern=_ENV_NAME)]


class Section(BaseModel):
    """The common shape: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def body(self) -> dict[str, Json]:
        """Return the section as the JSON of an order, without what has its default."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _requirement(value: str, info: ValidationInfo) -> str:
    if _unknown(info, value):
        return value
    if not value.strip() or value.strip().startswith("-") or "\n" in value:
        raise ValueError(f"{value[:80]!r} is not a requirement such as numpy==2.1.3; options do not belong here")
    return value.strip()


def _python_version(value: str, info: ValidationInfo) -> str:
    if not _unknown(info, value) and not re.fullmatch(r"\d{1,3}(\.\d{1,3}){0,2}", value):
        raise ValueError(f"{value[:40]!r} is no version of Python such as '3.11'")
    return value


class EnvSection(Section):
    """An environment to build, or to find built: the packages, or a lock file of them."""

    manager: Literal["venv"] = "venv"
    requirements: tuple[Annotated[str, AfterValidator(_requirement)], ...] = Field(default=(), max_length=10_000)
    lock: str | None = Field(default=None, max_length=MAX_FILES_BYTES)
    """The text of a lock file (requirements with hashes); wins over `requirements`. Never a template."""
    python: Annotated[str, AfterValidator(_python_version)] | None = None
    """The version of Python, such as "3.11"; None: the worker's own."""

    def body(self) -> dict[str, Json]:
        return {"manager": self.manager, **super().body()}  # the one field that chooses the builder


class StageItem(Section):
    """One file to bring: one side is local (a path below the run's folder), the other has a scheme."""

    source: str = Field(alias="from", min_length=1, max_length=8192)
    to: str = Field(min_length=1, max_length=8192)
    sha256: str | None = None
    """The checksum that what arrives must have; only for what comes in."""

    @property
    def incoming(self) -> bool:
        return has_scheme(self.source)

    @model_validator(mode="after")
    def _has_one_local_side(self, info: ValidationInfo) -> Self:
        if not _unknown(info, self.sha256) and self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 must be 64 of 0-9 and a-f: the output of sha256sum")
        if _unknown(info, self.source, self.to):
            return self
        if has_scheme(self.source) == has_scheme(self.to):
            raise ValueError(
                "exactly one of from and to has a scheme (https:, file:, …); the other is a path below the run's folder"
            )
        relative_path(self.to if self.incoming else self.source, info)
        if self.sha256 and not self.incoming:
            raise ValueError("sha256 is checked on what comes in; leave it out of what goes out")
        return self


class StageSection(Section):
    """Files to bring, in order. In a workflow: the list itself."""

    items: tuple[StageItem, ...] = Field(min_length=1, max_length=10_000)

    @model_validator(mode="before")
    @classmethod
    def _accept_the_list(cls, value: Any) -> Any:
        return {"items": value} if isinstance(value, (list, tuple)) else value


class BuiltEnvironment(BaseModel):
    """The output of an env task, as a job needs it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    python: str
    site_packages: str
    digest: str


class JobSection(Section):
    """A command to run in the run's folder.

    `shell` becomes argv `/bin/sh -c script`. Values of `env` such as `secret://name` are fetched at launch.
    `files` are written into the run's folder before the command starts. In a workflow, `environment` names an
    env task; in an order it is that task's output.
    """

    argv: tuple[ProcessText, ...] = Field(min_length=1, max_length=10_000)
    env: dict[EnvName, ProcessText] = {}
    environment: BuiltEnvironment | None = None
    files: dict[RelativePath, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _unfold_shell(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "shell" not in value:
            return value
        script = value["shell"]
        if "argv" in value:
            raise ValueError("has argv and shell; keep one of them")
        if not isinstance(script, str) or not script.strip():
            raise ValueError("shell: expected the text of a script")
        if OPEN in script:
            raise ValueError(
                "shell: templates inside a script are refused: a value with a quote or a semicolon would "
                'become code; pass it as env: {VALUE: "{{ … }}"} and write "$VALUE" in the script'
            )
        return {name: field for name, field in value.items() if name != "shell"} | {"argv": ["/bin/sh", "-c", script]}

    @model_validator(mode="after")
    def _files_are_small(self) -> Self:
        if sum(len(text.encode("utf-8", "replace")) for text in self.files.values()) > MAX_FILES_BYTES:
            raise ValueError(f"files: more than {MAX_FILES_BYTES // 1024} KiB together; stage what is larger")
        return self


def _function_name(value: str) -> str:
    if not _FUNCTION.fullmatch(value):
        raise ValueError(f"{value[:80]!r} is no function such as images.thumbnail: app (a-z, 0-9, -), dot, name")
    return value


class CallSection(Section):
    """A function of a user's own worker: `app.function`, with keyword arguments.

    `once`: it must not run twice, so it is claimed before it starts.
    """

    function: Annotated[str, AfterValidator(_function_name)]
    args: dict[str, Json] = {}
    once: bool = Field(default=False, strict=True)

    @property
    def app(self) -> str:
        return self.function.partition(".")[0]


SECTIONS: dict[Kind, type[Section]] = {
    Kind.ENV: EnvSection,
    Kind.STAGE: StageSection,
    Kind.JOB: JobSection,
    Kind.CALL: CallSection,
}
"""The section of each kind; its name in a workflow is the kind."""
