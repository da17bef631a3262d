"""Names of the images that steps run in; `mgoe pipeline compile --options` sets others (of a registry, by digest)."""

TRAIN_IMAGE = "mgoe/train:0.1.0"
PIPELINE_IMAGE = "mgoe/pipeline:0.1.0"
