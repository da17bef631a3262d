from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.artifact.manifest import read_manifest
from model.artifact.store import open_store
from model.bundle.commands import app
from model.errors import Fault, UserError
from tests.model.bundle.bundle_world import World


def said(*arguments: object) -> str:
    """What the command prints; its errors rise as they do behind `mgoe`."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_model_is_packaged_shown_and_verified(world: World, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    made = said(
        "package", "--model", world.model("mgoe"), "--log", world.log, "--graph", world.graph, "--out", out,
        "--utility", "click=1", "--utility", "buy=4.5", "--probes", "16",
    )  # fmt: skip
    digest = read_manifest(out).digest
    assert f"bundle {digest[:12]} in" in made
    shown = said("show", out)
    for words in (
        digest,
        "click < buy",
        "click 1, buy 4.5 (expected utility)",
        "slot, delay, rank, shown",
        "user tables",
    ):
        assert words in shown
    verified = said("verify", out)
    assert "signature  none" in verified
    assert "probes     16 requests within" in verified


def test_a_bundle_that_scores_otherwise_is_not_verified(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.bundle.probe.TOLERANCE", -1.0)
    with pytest.raises(Fault, match=r"probe 0: .* away from the trainer"):
        said("verify", world.bundle("mmoe"))


def test_a_bundle_is_named_by_its_folder_or_its_address(world: World) -> None:
    bundle = world.bundle("mmoe")
    assert said("verify", bundle.as_uri()) == said("verify", bundle)
    for address in ("s3://", "s3://bucket", "s3://bucket/"):
        for command in ("show", "verify"):
            with pytest.raises(UserError, match=f"bundle '{address}' names no key; write s3://bucket/key"):
                said(command, address)
    with pytest.raises(UserError, match="bundle ftp://host/x: unknown scheme 'ftp'"):
        said("show", "ftp://host/x")
    with pytest.raises(UserError, match="bundle s3://bucket/key: a folder is signed"):
        said("sign", "s3://bucket/key", "--key", "none")


@pytest.mark.s3
@pytest.mark.usefixtures("s3_server")
def test_a_bundle_on_s3_is_shown_and_verified_where_it_lies(world: World, s3_bucket: str) -> None:
    bundle = world.bundle("mmoe")
    open_store(f"s3://{s3_bucket}/models").put_tree(bundle, "mmoe")
    address = f"s3://{s3_bucket}/models/mmoe"
    assert said("verify", address) == said("verify", bundle)
    assert said("show", address) == said("show", bundle)
    with pytest.raises(UserError, match="no artifact"):
        said("verify", f"s3://{s3_bucket}/models/absent")


@pytest.mark.parametrize("weight", ["click", "click=", "click=much", "=1"])
def test_a_weight_that_is_none_is_refused(world: World, tmp_path: Path, weight: str) -> None:
    asked = ("--model", world.model("mmoe"), "--log", world.log, "--out", tmp_path / "bundle", "--utility", weight)
    with pytest.raises(UserError, match=r"write task=weight|utility names ''"):
        said("package", *asked)


def test_a_signature_is_made_and_checked_by_file(world: World, tmp_path: Path) -> None:
    pytest.importorskip("model_signing", reason="model-signing is not installed: pip install 'mgoe[sign]'")
    from tests.model.bundle.test_signature import write_keys

    keys, _ = write_keys(tmp_path, "maker")
    bundle = world.copy_of("mmoe", tmp_path / "bundle")
    assert "model.sig" in said("sign", bundle, "--key", keys.private)
    assert "signature  trusted" in said("verify", bundle, "--key", keys.public)
    assert "signature  not checked" in said("verify", bundle)


def test_options_that_exclude_each_other_are_named(world: World, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(UserError, match="--key and --root exclude each other"):
        said("verify", world.bundle("mmoe"), "--key", file, "--root", file)
    with pytest.raises(UserError, match="--chain goes with --certificate"):
        said("sign", world.bundle("mmoe"), "--key", file, "--chain", file)
    with pytest.raises(UserError, match="--password-file goes with a key alone"):
        said("sign", world.bundle("mmoe"), "--key", file, "--certificate", file, "--password-file", file)
