from __future__ import annotations

import pytest


@pytest.mark.xdist_group("engine")
def test_those_who_share_the_real_engine_are_kept_in_one_worker(
    request: pytest.FixtureRequest,
) -> None:
    if hasattr(request.config, "workerinput"):
        assert request.node.nodeid.endswith("@engine")
