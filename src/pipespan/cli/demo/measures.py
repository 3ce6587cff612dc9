"""Figures over many modules: complexity by package, and who imports whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipespan.cli.demo.sources import Function, Module


@dataclass(frozen=True, slots=True)
class PackageFigures:
    """What a package consists of."""

    name: str
    modules: int
    lines: int
    functions: int
    mean_complexity: float
    p95_complexity: int
    worst: tuple[Function, ...]
    largest_cycle: tuple[str, ...]


@dataclass(slots=True)
class ImportGraph:
    """Imports between the modules that are known."""

    targets: dict[str, set[str]] = field(default_factory=dict)
    importers: Counter[str] = field(default_factory=Counter)

    def cycle_in(self, modules: Collection[str]) -> tuple[str, ...]:
        """Return the largest set of `modules` that all import each other, directly or not; empty if there is none."""
        inside = set(modules)
        edges = {name: self.targets.get(name, set()) & inside for name in modules}
        largest = max(strong_components(edges), key=len, default=[])
        return tuple(sorted(largest)) if len(largest) > 1 else ()


def by_package(modules: Iterable[Module]) -> dict[str, list[Module]]:
    """Return the modules by package, the largest package first."""
    packages: dict[str, list[Module]] = {}
    for module in modules:
        packages.setdefault(module.source.package, []).append(module)
    return dict(sorted(packages.items(), key=lambda item: -sum(module.lines for module in item[1])))


def resolve_imports(modules: Iterable[Module]) -> ImportGraph:
    """Return who imports whom: an imported name stands for the longest known module at its beginning."""
    listed = list(modules)
    known = {module.source.module for module in listed}
    graph = ImportGraph()
    for module in listed:
        name = module.source.module
        targets = {target for imported in module.imports if (target := _known_prefix(imported, known))}
        targets.discard(name)
        graph.targets.setdefault(name, set()).update(targets)
        graph.importers.update(targets)
    return graph


def measure_package(name: str, modules: Sequence[Module], graph: ImportGraph) -> PackageFigures:
    """Return the figures of one package."""
    complexities = sorted(value for module in modules for value in module.complexities)
    worst = sorted((one for module in modules for one in module.worst), key=lambda one: -one.complexity)
    return PackageFigures(
        name=name,
        modules=len(modules),
        lines=sum(module.lines for module in modules),
        functions=len(complexities),
        mean_complexity=sum(complexities) / len(complexities) if complexities else 0.0,
        p95_complexity=complexities[len(complexities) * 95 // 100] if complexities else 0,
        worst=tuple(worst[:5]),
        largest_cycle=graph.cycle_in([module.source.module for module in modules]),
    )


def strong_components(edges: Mapping[str, Collection[str]]) -> Iterator[list[str]]:
    """Yield the strongly connected components of a graph (Tarjan, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    for start in edges:
        if start in index:
            continue
        work = [(start, iter(edges[start]))]
        _enter(start, index, low, path, on_path)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    _enter(target, index, low, path, on_path)
                    work.append((target, iter(edges.get(target, ()))))
                    break
                if target in on_path:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    yield _leave(node, path, on_path)


def _enter(node: str, index: dict[str, int], low: dict[str, int], path: list[str], on_path: set[str]) -> None:
    index[node] = low[node] = len(index)
    path.append(node)
    on_path.add(node)


def _leave(node: str, path: list[str], on_path: set[str]) -> list[str]:
    start = path.index(node)
    component = path[start:]
    del path[start:]
    on_path.difference_update(component)
    return component


def _known_prefix(name: str, known: Collection[str]) -> str:
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name
