"""Component: put the registered pair under a rollout."""
# ruff: noqa: PLC0415, UP045  # kfp ships the source of the function alone and reads no `str | None`

from typing import Optional

from kfp import dsl

from components.artifacts import Bundle
from components.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)  # type: ignore[untyped-decorator]
def register_rollout(
    baseline_bundle: dsl.Input[Bundle],
    candidate_bundle: dsl.Input[Bundle],
    rollout: str,
    rollouts: Optional[str] = None,
) -> str:
    """Create the ModelRollout of a pair of bundles, or bring the pair to the one that is there.

    Args:
        baseline_bundle: The baseline as servers load it.
        candidate_bundle: The candidate as servers load it.
        rollout: A ModelRollout as YAML text, without `spec.baseline` and `spec.candidate`.
        rollouts: The local controller's database. The API server of the step's cluster when absent.

    Returns:
        Output: Name of the rollout.
    """
    from components.register_rollout.work import run

    return run(baseline_bundle, candidate_bundle, rollout=rollout, rollouts=rollouts)
