"""How the order for a distributed training reaches its pods: as JSON in their environment."""

from __future__ import annotations

import os

from pydantic import ValidationError

from components.train.job import ORDER_VARIABLE
from model.errors import UserError
from model.training.share import SharedTraining


def order_from_environment() -> SharedTraining:
    """The order that this pod was started with. Raises UserError where there is none or it is damaged."""
    text = os.environ.get(ORDER_VARIABLE)
    if text is None:
        raise UserError(f"{ORDER_VARIABLE} is not set: the train step sets it in the jobs that it submits")
    try:
        return SharedTraining.model_validate_json(text)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{ORDER_VARIABLE} is no order of this version of mgoe: {field or 'JSON'} is wrong") from None
