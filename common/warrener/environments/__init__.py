"""The kinds of environments, by the name of their manager."""

from __future__ import annotations

from collections.abc import Mapping

from warrener.environment import Environment
from warrener.environments.venv import Builder, VenvEnvironment
from warrener.site import Site


def open_environments(
    site: Site, *, environ: Mapping[str, str], builder: Builder = "auto"
) -> Mapping[str, Environment]:
    """Return every kind of environment that this worker builds.

    `environ` is what the program was started with: it says where packages come from.
    `builder` forces uv or pip.
    """
    venv: Environment = VenvEnvironment(site.environments, environ=environ, builder=builder)
    return {venv.manager: venv}
