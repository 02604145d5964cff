"""How badly one seed's world behaves."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(slots=True)
class Faults:
    """Probabilities of one operation or step; all zero once the faults have stopped."""

    publish_lost: float = 0.0
    publish_unsure: float = 0.0
    doubled: float = 0.0
    delayed: float = 0.0
    settle_cut: float = 0.0
    store_before: float = 0.0
    store_rolled_back: float = 0.0
    store_after: float = 0.0
    spool: float = 0.0
    a_step: float = 0.0
    """That the nemesis acts after a step."""

    @classmethod
    def draw(cls, rng: Random) -> Faults:
        def sometimes(high: float) -> float:
            return rng.choice((0.0, high / 10, high / 3, high))

        return cls(
            publish_lost=sometimes(0.1), publish_unsure=sometimes(0.1), doubled=sometimes(0.15),
            delayed=sometimes(0.3), settle_cut=sometimes(0.02), store_before=sometimes(0.02),
            store_rolled_back=sometimes(0.02), store_after=sometimes(0.02), spool=sometimes(0.05),
            a_step=rng.choice((0.0, 0.001, 0.003, 0.006)),
        )  # fmt: skip

    def stop(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0.0)
