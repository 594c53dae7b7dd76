"""No modules import each other in a circle, not even only for types."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp

PARTS = ("adapters", "broker", "certs")


def test_no_import_goes_in_a_circle() -> None:
    graph = grimp.build_graph(*PARTS, cache_dir=None)
    imports = {
        module: {name for name in graph.find_modules_directly_imported_by(module) if name.startswith(PARTS)}
        for module in graph.modules
    }
    assert len(imports) > 300
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from error
