"""The names of environments."""

from __future__ import annotations

from warrener.environments.interpreter import Interpreter
from warrener.environments.venv import digest_of
from warrener.sections import EnvSection

PYTHON = Interpreter("/usr/bin/python3.11", "3.11.2", '{"libc": "glibc 2.36"}', has_ensurepip=True)
NEWER = Interpreter("/usr/bin/python3.11", "3.11.3", '{"libc": "glibc 2.37"}', has_ensurepip=True)


def digest(python: Interpreter = PYTHON, **recipe: object) -> str:
    return digest_of(EnvSection.model_validate(recipe), python)


def test_order_and_repetition_of_requirements_do_not_matter() -> None:
    assert digest(requirements=["a==1", "b==2"]) == digest(requirements=["b==2", "a==1", "a==1 "])


def test_packages_lock_and_platform_matter() -> None:
    digests = [
        digest(),
        digest(requirements=["a==1"]),
        digest(requirements=["a==2"]),
        digest(lock="a==1\n"),
        digest(NEWER),
    ]
    assert len(set(digests)) == len(digests)


def test_how_the_python_was_named_does_not_matter() -> None:
    assert digest(python=PYTHON) == digest_of(EnvSection(python="3.11"), PYTHON)


def test_a_lock_wins_over_requirements() -> None:
    assert digest(lock="a==1\n") == digest(lock="a==1\n", requirements=["b"])
