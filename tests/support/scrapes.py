"""Reading what ``/metrics`` answers, as Prometheus does."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from orderflow.telemetry.meters import REGISTRY


@dataclass(frozen=True)
class Scrape:
    """One answer. ``types`` by family; ``samples`` of all families."""

    text: str
    types: dict[str, str]
    samples: list[Sample]

    @classmethod
    def of(cls, text: str) -> Self:
        """Parse ``text``; what Prometheus would refuse is refused here."""
        families = list(text_string_to_metric_families(text))
        assert len({family.name for family in families}) == len(families), "a family stands there twice"
        return cls(text, {f.name: f.type for f in families}, [sample for f in families for sample in f.samples])

    def of_name(self, name: str, **labels: str) -> Iterator[Sample]:
        """The samples of this name that have these labels, among others."""
        for sample in self.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample

    def total(self, name: str, **labels: str) -> float:
        """Their sum."""
        return sum(sample.value for sample in self.of_name(name, **labels))


async def scrape(port: int) -> Scrape:
    """Ask a process of this machine."""
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return Scrape.of(answer.text)


def counted(name: str, **labels: str) -> float:
    """What this process has counted so far."""
    return REGISTRY.get_sample_value(name, labels) or 0.0
