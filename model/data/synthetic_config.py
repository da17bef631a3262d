"""Options of the synthetic log."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=2)]
Size = Annotated[float, Field(ge=0)]


class SyntheticTask(BaseModel):
    """rate: how often the task follows the weaker one (the first: an impression) at neutral affinity."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    rate: Annotated[float, Field(gt=0, lt=1)]


class SyntheticConfig(BaseModel):
    """What is planted in the log. The same options and seed give the same bytes of data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Annotated[int, Field(ge=10)] = 200_000
    users: Count = 8_000
    items: Count = 800
    user_clusters: Count = 8
    item_clusters: Count = 8
    tasks: Annotated[tuple[SyntheticTask, ...], Field(min_length=1, max_length=4)] = (
        SyntheticTask(name="click", rate=0.12),
        SyntheticTask(name="cart", rate=0.15),
        SyntheticTask(name="buy", rate=0.15),
    )
    """Weakest first; each holds only where the one before holds."""
    days: Annotated[int, Field(ge=3)] = 14
    test_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Last part of the days: test. The same share before it: validation."""
    affinity: Size = 2.0
    """Deviation of the logit between a user cluster and an item cluster: what a macro graph can learn."""
    own_lift: Size = 0.3
    """Deviation of a single user's or item's own logit: what only its own history shows."""
    drift: Size = 0.3
    """Amplitude of the slow change of an item cluster's logit."""
    exposure_share: Share = 0.7
    """Share of impressions chosen for the user's cluster; the rest follow popularity."""
    exposure_taste: Size = 2.0
    """How sharply those impressions follow the cluster's affinity."""
    user_skew: Size = 1.0
    """Log-deviation of users' activity."""
    item_skew: Size = 0.8
    """Log-deviation of items' popularity."""
    cold_share: Share = 0.03
    """Share of users and of items that appear in the test days only."""
    feature_signal: Share = 0.1
    """How often a category of a user or item tells of its cluster; otherwise it is noise."""
    seed: Annotated[int, Field(ge=0)] = 0
