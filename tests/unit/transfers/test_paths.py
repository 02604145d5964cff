"""Paths below a root."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warrener.errors import Cause, TaskFailed
from warrener.transfers.paths import below, open_folder, open_source, within

NAMES = st.sampled_from(["a", "b", ".", "..", "", "link", "up", "file", "…", "a b", "%2e%2e", "\0", "~"])
PATHS = st.lists(NAMES, max_size=6).map("/".join) | st.text(max_size=20)


@given(PATHS)
def test_a_name_below_a_root_never_leads_out_of_it(text: str) -> None:
    root = Path("/root-of-test")
    try:
        file = below(root, text)
    except TaskFailed:
        return
    normal = os.path.normpath(file.path)
    assert normal.startswith(f"{root}/")
    assert file.names


@settings(max_examples=60, deadline=None)
@given(PATHS)
def test_what_is_opened_or_made_lies_below_the_root_whatever_links_say(text: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        root, outside = Path(place, "root"), Path(place, "outside")
        for folder in (root / "a/b", outside / "a"):
            folder.mkdir(parents=True)
        (root / "file").write_text("in")
        (root / "link").symlink_to(outside)
        (root / "a" / "up").symlink_to("../..")
        (outside / "file").write_text("out")
        try:
            file = below(root, text)
            with open_folder(file, create=True) as held:
                assert Path(f"/proc/self/fd/{held}").readlink().is_relative_to(root.resolve())
            descriptor = open_source(file)
            assert os.read(descriptor, 9) == b"in"
            os.close(descriptor)
        except (TaskFailed, OSError, UnicodeEncodeError):
            pass
        assert sorted(path.name for path in outside.rglob("*")) == ["a", "file"]
        assert sorted(path.name for path in Path(place).iterdir()) == ["outside", "root"]


@pytest.mark.parametrize("text", ["a/", "", ".", "a/.", "/a", "../a", "a/../b"])
def test_what_names_no_file_below_the_root_is_refused(text: str) -> None:
    with pytest.raises(TaskFailed) as failed:
        below(Path("/r"), text)
    assert failed.value.cause is Cause.REFUSED


def test_a_root_is_found_by_whole_names(tmp_path: Path) -> None:
    assert within([tmp_path], f"{tmp_path}x/a") is None
    found = within([tmp_path / "other", tmp_path], f"{tmp_path}/a//b")
    assert found is not None
    assert found.names == ("a", "b")
