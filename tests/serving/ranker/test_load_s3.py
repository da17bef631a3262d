"""A bundle on a real S3 server is fetched, verified and served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.artifact.store import open_store
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import NotReady
from serving.ranker.request import RankRequest
from serving.ranker.settings import RankerSettings

pytestmark = pytest.mark.s3


@pytest.mark.usefixtures("s3_server")
def test_a_bundle_on_s3_scores_as_the_one_in_the_folder(
    s3_bucket: str, bundles: dict[str, Path], tmp_path: Path, quick: RankerSettings
) -> None:
    open_store(f"s3://{s3_bucket}/models").put_tree(bundles["mgoe"], "mgoe")
    settings = RankerSettings(cache=tmp_path, scorers=("factorised",))
    asked = RankRequest("3", tuple(map(str, range(40))), time=0.0)
    fetched = Ranker.load(f"s3://{s3_bucket}/models/mgoe", settings).rank(asked)
    local = Ranker.load(bundles["mgoe"], quick).rank(asked)
    assert fetched.digest == local.digest
    np.testing.assert_allclose(fetched.probabilities, local.probabilities, atol=1e-5, rtol=0)
    with pytest.raises(NotReady, match="no artifact"):
        Ranker.load(f"s3://{s3_bucket}/models/absent", settings)
