"""The JSON Schema of workflows, for editors; `Definition.parse` remains the judge.

A schema cannot say that needs exist or that a template is right, and editors show its `description`s: it is
written by hand, and a test holds its fields against the models.
"""

from __future__ import annotations

from typing import Any

from warrener.errors import Cause

Schema = dict[str, Any]

_DURATION = r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$"
_NAME = "^[A-Za-z0-9]([A-Za-z0-9_-]{0,126}[A-Za-z0-9])?$"


def json_schema() -> Schema:
    """Return the schema (draft 2020-12) of a workflow."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Warrener workflow",
        "description": "Tasks and how they depend on one another.",
        **_object(_TOP, required=("workflow", "tasks")),
        "$defs": _DEFS,
    }


def _object(fields: Schema, *, required: tuple[str, ...] = (), says: str | None = None) -> Schema:
    schema: Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    return schema | ({"description": says} if says else {})


def _text(says: str, **more: Any) -> Schema:
    return {"type": "string", "description": says, **more}


def _duration(says: str) -> Schema:
    return {"$ref": "#/$defs/duration", "description": says}


def _map(values: Schema, says: str) -> Schema:
    return {"type": "object", "additionalProperties": values, "description": says}


_GENERAL: Schema = {
    "priority": {
        "type": "integer", "minimum": 0, "maximum": 9, "default": 4, "description": "Higher goes first.",
    },
    "weight": {
        "type": "integer", "minimum": 1, "maximum": 10_000, "default": 1,
        "description": "How many slots of a worker it takes.",
    },
    "timeout": _duration("How long one attempt may run."),
    "lease": _duration("How long an attempt may go without a heartbeat; minutes for work that outlives outages."),
    "grace": _duration("How late it may start; after that it expires."),
    "deadline": _duration("When its result is due, counted from the run's beginning."),
    "expect": _duration("How long it will probably run; without it, what it took before tells."),
    "retry": {"$ref": "#/$defs/retry"},
    "on_lost": {
        "enum": ["retry", "hold", "fail"], "default": "retry",
        "description": "What happens when its worker is lost: placed anew, held for a person, or failed.",
    },
}  # fmt: skip

_SECTIONS: Schema = {name: {"$ref": f"#/$defs/{name}"} for name in ("env", "stage", "job", "call")}

_TASK: Schema = {
    "needs": {
        "type": "array", "items": {"type": "string"},
        "description": "Tasks that must succeed first; those that its templates and its environment name are added.",
    },
    "description": _text("For people."),
    **_GENERAL,
    **_SECTIONS,
}  # fmt: skip

_TOP: Schema = {
    "workflow": _text("The workflow's name.", pattern="^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"),
    "version": _text("A label of this version, in quotes.", maxLength=64),
    "description": _text("For people."),
    "params": _map({"$ref": "#/$defs/param"}, "Parameters: a default, or {type, default, required, description}."),
    "defaults": _object(_GENERAL, says="What holds for every task that does not say otherwise."),
    "tasks": {
        "type": "object", "minProperties": 1, "propertyNames": {"pattern": _NAME},
        "additionalProperties": {"$ref": "#/$defs/task"}, "description": "The tasks by name.",
    },
}  # fmt: skip

_PROCESS_TEXT: Schema = {"type": ["string", "number", "boolean"]}

_DEFS: Schema = {
    "duration": {
        "description": "Seconds, or a number with a unit.",
        "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _DURATION}],
        "examples": ["500ms", "30s", "5m", "2h", "1d", "1h30m"],
    },
    "retry": {
        "description": "How often, when and after what a failed task is tried again.",
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 100},
            _object(
                {
                    "count": {
                        "type": "integer", "minimum": 0, "maximum": 100, "default": 0,
                        "description": "Further tries after the first.",
                    },
                    "delay": _duration("Before the first retry; 10s unless said."),
                    "backoff": {
                        "type": "number", "minimum": 1, "maximum": 10, "default": 2,
                        "description": "What the delay is multiplied by after each further failure.",
                    },
                    "max_delay": _duration("The longest delay; 1h unless said."),
                    "on": {
                        "type": "array", "items": {"enum": [cause.value for cause in Cause]},
                        "description": "The causes of failure that are tried again.",
                    },
                }
            ),
        ],
    },
    "param": {
        "anyOf": [
            {"type": ["string", "number", "boolean", "array", "null"], "description": "The default."},
            _object(
                {
                    "type": {"enum": ["string", "integer", "number", "boolean", "list", "object"]},
                    "default": {"description": "Used when none is given; without it, one must be given."},
                    "required": {"type": "boolean"},
                    "description": _text("For people."),
                }
            ),
        ]
    },
    "task": {
        **_object(_TASK),
        "oneOf": [{"required": [name]} for name in _SECTIONS],
    },
    "env": _object(
        {
            "manager": {"const": "venv", "default": "venv"},
            "requirements": {
                "type": "array", "items": {"type": "string"}, "description": "Packages, such as numpy==2.1.3.",
            },
            "lock": _text("A lock file (requirements with hashes); wins over requirements."),
            "python": _text('The version of Python, in quotes: "3.11".'),
        },
        says="An environment to build, or to find built.",
    ),
    "stage": {
        "type": "array", "minItems": 1, "description": "Files to bring in or out, in order.",
        "items": _object(
            {
                "from": _text("A URL (https:, file:, …), or a path below the run's folder."),
                "to": _text("A path below the run's folder, or a URL."),
                "sha256": _text("The checksum that what comes in must have."),
            },
            required=("from", "to"),
        ),
    },
    "job": {
        **_object(
            {
                "argv": {
                    "type": ["array", "string"], "items": _PROCESS_TEXT, "minItems": 1,
                    "description": "The command and its arguments; no shell reads them.",
                },
                "shell": _text("A script for /bin/sh instead of argv; values come by env, not by templates."),
                "env": _map(_PROCESS_TEXT, "Environment variables; secret://name is fetched at launch."),
                "environment": _text("The env task whose Python it runs in."),
                "files": _map({"type": "string"}, "Small text files, written before it starts; never templates."),
            },
            says="A command to run in the run's folder.",
        ),
        "oneOf": [{"required": ["argv"]}, {"required": ["shell"]}],
    },
    "call": _object(
        {
            "function": _text("app.function, registered by a worker of that app."),
            "args": {"type": "object", "description": "Its keyword arguments."},
            "once": {"type": "boolean", "default": False, "description": "It must not run twice: claim it first."},
        },
        required=("function",),
        says="A function of your own worker.",
    ),
}  # fmt: skip
