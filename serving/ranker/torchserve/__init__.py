"""The ranker on TorchServe 0.12: its archive (`archive`), its handler (`handler`), its start (`launch`).

TorchServe is no longer maintained upstream, so it is not the default runtime, and it is started with every door shut
that the ranker does not need.
"""
