"""What Linux tells of a host."""

from __future__ import annotations

from pathlib import Path

from warrener.worker.host import look_at_host

GIB = 1024**3


def proc(folder: Path, *, group: str = "0::/\n", runnable: int = 5) -> Path:
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "loadavg").write_text(f"9.20 0.18 0.12 {runnable}/80 11206\n")
    (folder / "proc" / "meminfo").write_text(f"MemTotal: {8 * 1024**2} kB\nMemAvailable: {2 * 1024**2} kB\n")
    (folder / "proc" / "self" / "cgroup").write_text(group)
    return folder / "proc"


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text)


def test_this_host_tells_how_it_is() -> None:
    sample = look_at_host()
    assert sample is not None
    assert sample.runnable >= 0
    assert 0 < sample.memory_free <= 1


def test_whoever_looks_does_not_count_and_free_memory_is_a_share(tmp_path: Path) -> None:
    sample = look_at_host(proc(tmp_path), tmp_path / "groups")
    assert sample is not None
    assert (sample.runnable, sample.memory_free) == (4, 0.25)


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    group(tmp_path / "groups", max=str(GIB), current=str(GIB - GIB // 10), stat="anon 1\ninactive_file 0\n")
    sample = look_at_host(proc(tmp_path), tmp_path / "groups")
    assert sample is not None
    assert round(sample.memory_free, 2) == 0.1


def test_the_limit_of_an_old_container_counts(tmp_path: Path) -> None:
    group(
        tmp_path / "groups" / "memory" / "box", limit_in_bytes=str(GIB), usage_in_bytes=str(GIB),
        stat=f"total_inactive_file {GIB // 20}\n",
    )  # fmt: skip
    sample = look_at_host(proc(tmp_path, group="9:cpu:/box\n5:memory:/box\n"), tmp_path / "groups")
    assert sample is not None
    assert round(sample.memory_free, 2) == 0.05


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    group(tmp_path / "groups", max="max", current="5", stat="inactive_file 0\n")
    sample = look_at_host(proc(tmp_path), tmp_path / "groups")
    assert sample is not None
    assert sample.memory_free == 0.25


def test_a_system_that_tells_nothing_withholds_nothing(tmp_path: Path) -> None:
    assert look_at_host(tmp_path / "nowhere", tmp_path) is None
