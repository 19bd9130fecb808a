"""Every way a file of weights can be wrong, as the sentence a person reads; ``.pth`` and ``.safetensors`` alike."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from samref.cli import models as models_command
from samref.errors import CheckpointInvalidError, CheckpointMissingError, ModelError
from samref.models import registry as zoo
from samref.models.checkpoints import load_into, load_safetensors, load_torch, locate
from samref.models.interface import Checkpoint
from samref.models.registry import build_model
from samref.models.sam.network import SAM_CONFIGS, random_weights
from samref.models.segnext.network import SEGNEXT_CONFIGS, SegNextNet

FORMS = ("pth", "safetensors")


def toy() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))


def good() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(value.shape, generator=generator) for key, value in toy().state_dict().items()}


def write(path: Path, weights: Mapping[str, Tensor]) -> Path:
    if path.suffix == ".pth":
        torch.save(dict(weights), path)
    else:
        save_file(dict(weights), path)
    return path


def read(path: Path) -> dict[str, Tensor]:
    return load_torch(path) if path.suffix == ".pth" else load_safetensors(path)


def refusal(path: Path, module: nn.Module | None = None) -> str:
    """The sentence with which the file at ``path`` is refused, and proof that the module stayed as it was."""
    module = toy() if module is None else module
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(CheckpointInvalidError) as raised:
        load_into(module, read(path), "toy")
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    message = str(raised.value)
    assert message.endswith(".")
    return message


def on_meta(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """A network's names and shapes without its numbers."""
    with torch.device("meta"):
        return dict(build().state_dict())


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path, form: str) -> Path:
    return tmp_path / f"weights.{form}"


class TestKeys:
    def test_good_weights_are_taken(self, path: Path) -> None:
        module = toy()
        load_into(module, read(write(path, good())), "toy")
        assert all(torch.equal(value, good()[key]) for key, value in module.state_dict().items())

    def test_missing_keys_are_named(self, path: Path) -> None:
        weights = good()
        del weights["0.bias"], weights["1.weight"]
        assert "missing: 0.bias, 1.weight" in refusal(write(path, weights))

    def test_extra_keys_are_named(self, path: Path) -> None:
        assert "not part of the model: 2.gamma" in refusal(write(path, good() | {"2.gamma": torch.ones(1)}))

    def test_wrong_shapes_are_named_with_both_shapes(self, path: Path) -> None:
        message = refusal(write(path, good() | {"0.weight": torch.ones(3, 5)}))
        assert "wrong shape: 0.weight is (3, 5) instead of (3, 2)" in message

    def test_all_three_faults_are_named_together(self, path: Path) -> None:
        weights = good() | {"0.weight": torch.ones(2), "other": torch.ones(1)}
        del weights["0.bias"]
        message = refusal(write(path, weights))
        assert message.index("missing: 0.bias") < message.index("not part of the model: other")
        assert message.index("not part of the model: other") < message.index("wrong shape: 0.weight")

    def test_of_many_keys_a_few_are_named_and_the_rest_counted(self, path: Path) -> None:
        message = refusal(write(path, good() | {f"more.{index:02}": torch.ones(1) for index in range(30)}))
        assert message.count("more.0") == 4
        assert "and 26 more" in message

    def test_a_file_without_any_weight_is_refused(self, path: Path) -> None:
        with pytest.raises(CheckpointInvalidError):
            load_into(toy(), read(write(path, {})), "toy")


class TestNumbers:
    @pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
    def test_weights_that_are_not_finite_are_refused_by_name(self, path: Path, number: float) -> None:
        weights = good()
        weights["0.weight"][1, 1] = number
        message = refusal(write(path, weights))
        assert "0.weight is not finite" in message
        assert "0.bias" not in message

    def test_half_precision_that_overflowed_is_refused_too(self, path: Path) -> None:
        weights = {key: value.half() for key, value in good().items()}
        weights["1.bias"] = (weights["1.bias"] + 1e6).half()
        assert "1.bias is not finite" in refusal(write(path, weights))

    def test_half_precision_itself_is_fine(self, path: Path) -> None:
        load_into(toy(), read(write(path, {key: value.half() for key, value in good().items()})), "toy")

    def test_whole_numbers_for_weights_are_refused(self, path: Path) -> None:
        message = refusal(write(path, good() | {"0.bias": torch.ones(3, dtype=torch.int64)}))
        assert "0.bias is int64 instead of float32" in message

    def test_complex_numbers_for_weights_are_refused(self, tmp_path: Path) -> None:
        weights = good() | {"0.bias": torch.ones(3, dtype=torch.complex64)}
        assert "0.bias is complex64" in refusal(write(tmp_path / "w.pth", weights))

    def test_sparse_weights_are_refused(self, tmp_path: Path) -> None:
        weights = good() | {"0.weight": torch.ones(3, 2).to_sparse()}
        assert "0.weight is not a plain tensor" in refusal(write(tmp_path / "w.pth", weights))


class TestVariants:
    def test_one_fusion_block_is_not_taken_for_two(self) -> None:
        one = on_meta(lambda: SegNextNet(SEGNEXT_CONFIGS["segnext-b-sax1"]))
        with torch.device("meta"):
            two = SegNextNet(SEGNEXT_CONFIGS["segnext-b-sax2"])
        with pytest.raises(CheckpointInvalidError, match=r"of segnext-b-sax2\. missing: fusion_blocks\.1"):
            load_into(two, one, "segnext-b-sax2", assign=True)

    def test_base_and_refiner_of_tiny_may_not_change_places(self, tmp_path: Path, root: Path) -> None:
        shipped = root / "assets" / "weights"
        (tmp_path / "tiny-base.safetensors").write_bytes((shipped / "tiny-refiner.safetensors").read_bytes())
        (tmp_path / "tiny-refiner.safetensors").write_bytes((shipped / "tiny-base.safetensors").read_bytes())
        with pytest.raises(CheckpointInvalidError, match=r"not the weights of tiny\. missing"):
            build_model("tiny", checkpoint=tmp_path)

    def test_the_models_themselves_refuse_a_file_of_another_variant(self, tmp_path: Path) -> None:
        path = write(tmp_path / "w.pth", random_weights(SAM_CONFIGS["sam-random"], 0))
        with pytest.raises(CheckpointInvalidError, match=r"not the weights of segnext-b-sax1\. missing: backbone"):
            build_model("segnext-b-sax1", checkpoint=path)
        with pytest.raises(CheckpointInvalidError, match=r"has 375,042,383\. The file is incomplete or another one"):
            build_model("sam-vit-b", checkpoint=path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
class TestDamage:
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95, 0.999])
    def test_a_file_cut_short_is_refused(self, path: Path, share: float) -> None:
        whole = write(path, good() | {"large": torch.zeros(5000)}).read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointInvalidError, match="cut short"):
            read(path)

    def test_an_empty_file_is_called_empty(self, path: Path) -> None:
        path.touch()
        with pytest.raises(CheckpointInvalidError, match="is empty"):
            read(path)

    def test_a_folder_is_called_a_folder(self, path: Path) -> None:
        path.mkdir()
        for look in (lambda: read(path), lambda: locate(Checkpoint("w"), "toy", path)):
            with pytest.raises(CheckpointMissingError, match="is a folder"):
                look()

    def test_no_file_is_a_sentence_with_its_path(self, path: Path) -> None:
        with pytest.raises(CheckpointMissingError, match=r"weights\.(pth|safetensors)"):
            read(path)

    def test_a_wrong_digest_is_refused_before_the_file_is_opened(self, path: Path) -> None:
        write(path, good())
        expected = Checkpoint(path.name, sha256="00" * 32)
        look = partial(load_torch, path, expected) if path.suffix == ".pth" else partial(load_safetensors, path, "00")
        with pytest.raises(CheckpointInvalidError, match="expected 00"):
            look()

    def test_one_changed_bit_is_found_by_the_digest_of_the_embedded_weights(self, tmp_path: Path, root: Path) -> None:
        checkpoint = zoo.get_spec("tiny").checkpoints[1]
        content = bytearray((root / "assets" / "weights" / checkpoint.file_name).read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / checkpoint.file_name).write_bytes(content)
        with pytest.raises(CheckpointInvalidError, match="is damaged or is not"):
            load_safetensors(tmp_path / checkpoint.file_name, checkpoint.sha256)

    def test_whatever_bytes_are_changed_the_answer_is_weights_or_a_sentence(self, path: Path) -> None:
        whole = write(path, good()).read_bytes()
        dice = random.Random(4)
        refused = 0
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(dice.choice((1, 4, 40))):
                content[dice.randrange(len(content))] = dice.randrange(256)
            path.write_bytes(content)
            try:
                load_into(toy(), read(path), "toy")
            except ModelError:
                refused += 1
        assert refused > 0

    @pytest.mark.parametrize("start", [b"\x80\x02", b"\x80\x02}q\x00(", b"PK\x03\x04", b"\x80\x04\x95", b"(lp0\n", b""])
    def test_random_bytes_are_refused_however_they_begin(self, path: Path, start: bytes) -> None:
        dice = random.Random(start)
        for _ in range(20):
            path.write_bytes(start + dice.randbytes(200))
            with pytest.raises(CheckpointInvalidError):
                read(path)


class Evil:
    """A pickle that would make a file when loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
class TestCode:
    @pytest.mark.parametrize("protocol", [0, 2, 4])
    def test_a_bare_pickle_with_code_is_refused_and_never_run(self, tmp_path: Path, protocol: int) -> None:
        marker, path = tmp_path / "ran", tmp_path / "w.pth"
        path.write_bytes(pickle.dumps(Evil(marker), protocol=protocol))
        with pytest.raises(CheckpointInvalidError):
            load_torch(path)
        assert not marker.exists()
        pickle.loads(path.read_bytes())  # the trap works: only the reader kept it shut
        assert marker.exists()

    @pytest.mark.parametrize("new_form", [True, False])
    def test_code_beside_or_below_weights_is_refused_and_never_run(self, tmp_path: Path, new_form: bool) -> None:
        marker, path = tmp_path / "ran", tmp_path / "w.pth"
        for content in (
            good() | {"extra": Evil(marker)},
            {"state_dict": good(), "config": Evil(marker)},
            {"state_dict": good(), "deep": [{"er": (Evil(marker),)}]},
        ):
            torch.save(content, path, _use_new_zipfile_serialization=new_form)
            with pytest.raises(CheckpointInvalidError, match="contains code to run"):
                load_torch(path)
        assert not marker.exists()

    def test_a_whole_module_is_refused_like_any_code(self, tmp_path: Path) -> None:
        torch.save(toy(), tmp_path / "w.pth")
        with pytest.raises(CheckpointInvalidError, match="contains code to run"):
            load_torch(tmp_path / "w.pth")

    def test_a_pickle_named_safetensors_is_refused_and_never_run(self, tmp_path: Path) -> None:
        marker, path = tmp_path / "ran", tmp_path / "w.safetensors"
        path.write_bytes(pickle.dumps(Evil(marker)))
        with pytest.raises(CheckpointInvalidError):
            load_safetensors(path)
        assert not marker.exists()


class TestOtherContent:
    @pytest.mark.parametrize(
        ("content", "found"),
        [
            ({"0.weight": torch.ones(1), "epoch": 3}, "'epoch' is a int"),
            ({"0.weight": [1.0, 2.0]}, "'0.weight' is a list"),
            ({"state_dict": {"0.weight": None}}, "'0.weight' is a NoneType"),
            ({7: torch.ones(1)}, "7 is a Tensor"),
            ({}, "it holds nothing"),
            ({"state_dict": {}}, "it holds nothing"),
        ],
    )
    def test_what_is_no_tensor_by_name_is_named(self, tmp_path: Path, content: object, found: str) -> None:
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(CheckpointInvalidError) as raised:
            load_torch(tmp_path / "w.pth")
        assert found in str(raised.value)

    @pytest.mark.parametrize("content", [[torch.ones(1)], torch.ones(1), "text", 3])
    def test_something_else_than_weights_by_name_is_refused(self, tmp_path: Path, content: object) -> None:
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(CheckpointInvalidError, match="does not hold weights by name"):
            load_torch(tmp_path / "w.pth")


class TestVerifyCommand:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("SAMREF_CACHE", str(tmp_path))
        return tmp_path

    def verify(self, *names: str) -> tuple[int, str]:
        result = CliRunner().invoke(models_command.app, ["verify", *names])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output

    def test_the_embedded_weights_are_right(self) -> None:
        code, output = self.verify("tiny")
        assert code == 0
        assert output.count("is complete and right") == 2

    @pytest.mark.parametrize(
        ("content", "said"), [(b"", "is empty"), (b"x" * 1000, "has 1,000 bytes"), (None, "models fetch sam-vit-b")]
    )
    def test_a_bad_or_missing_file_is_told_and_the_exit_code_is_one(
        self, cache: Path, content: bytes | None, said: str
    ) -> None:
        if content is not None:
            (cache / "sam_vit_b_01ec64.pth").write_bytes(content)
        code, output = self.verify("sam-vit-b")
        assert code == 1
        assert said in " ".join(output.split())

    def test_a_file_without_a_published_digest_is_loaded_instead(self, cache: Path) -> None:
        file = zoo.get_spec("segnext-b-sax1").checkpoints[0]
        write(cache / file.file_name, random_weights(SAM_CONFIGS["sam-random"], 0))
        code, output = self.verify("segnext-b-sax1")
        assert code == 1
        assert "These are not the weights of segnext-b-sax1. missing: backbone" in " ".join(output.split())
