"""The transfers, by the scheme of their URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from warrener.site import Site
from warrener.transfer import Transfer
from warrener.transfers.file import FileTransfer
from warrener.transfers.http import HttpTransfer


def open_transfers(site: Site, *, roots: Sequence[Path] = (), hosts: Sequence[str] = ()) -> Mapping[str, Transfer]:
    """Return every transfer of this worker by scheme.

    `roots` is WARRENER_STAGE_ROOTS (empty: the current folder), `hosts` is WARRENER_STAGE_HOSTS.
    """
    transfers: tuple[Transfer, ...] = (FileTransfer(site, roots or (Path.cwd(),)), HttpTransfer(site, hosts))
    return {scheme: transfer for transfer in transfers for scheme in transfer.schemes}
