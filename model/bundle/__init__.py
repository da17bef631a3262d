"""What serving loads: weights, tables, encoders and probes in one verified folder.

Two doors. `model.bundle.bundle` opens a bundle and imports nothing that only training needs; `model.bundle.package`
makes one from a trained model, and `model.bundle.parity` compares the two.
"""
