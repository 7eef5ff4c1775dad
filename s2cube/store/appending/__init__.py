"""The three steps of :func:`s2cube.append_daily`: the plan, the regions, publication."""
