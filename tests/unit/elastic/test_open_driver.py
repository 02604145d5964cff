"""From a pool's rule to its driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from warrener.errors import InvalidSettings
from warrener.settings import Settings
from warrener_services.elastic.drivers import open_driver
from warrener_services.elastic.rules import Pool, Processes


def test_a_worker_of_several_kinds_needs_a_slot_for_each(tmp_path: Path) -> None:
    pool = Pool(serves=("env", "stage", "job"), maximum=3, processes=Processes())
    with pytest.raises(InvalidSettings, match=r"^pools\.work: a worker of 3 kinds needs as many slots, and has 2; "):
        open_driver("work", pool, Settings(state=tmp_path, slots=2))
    open_driver("work", pool, Settings(state=tmp_path, slots=3))
    own = pool.model_copy(update={"processes": Processes(argv=("my-worker",))})
    open_driver("work", own, Settings(state=tmp_path, slots=2))
