from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from zsl_lab.errors import CheckpointError
from zsl_lab.files import seal
from zsl_lab.run.checkpoints import files as checkpoints


def archive() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(64.0), "text": "x" * 50}, buffer)
    return buffer.getvalue()


def test_pytorch_reads_a_sealed_file_as_any_other() -> None:
    sealed = seal.seal(archive())
    seal.check(sealed)
    found = torch.load(io.BytesIO(sealed), weights_only=True)
    assert torch.equal(found["weight"], torch.arange(64.0))


def test_every_single_flipped_bit_of_a_sealed_file_is_found() -> None:
    sealed = seal.seal(archive())
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(ValueError, match="it"):
            seal.check(bytes(damaged))


def test_every_truncation_of_a_sealed_file_is_found() -> None:
    sealed = seal.seal(archive())
    for length in range(len(sealed)):
        with pytest.raises(ValueError, match=r"it|empty"):
            seal.check(sealed[:length])
    with pytest.raises(ValueError, match="its end is missing"):
        seal.check(sealed + b"\0")


def test_a_file_of_an_older_version_has_no_seal_and_its_checksums_are_checked() -> None:
    whole = archive()
    seal.check(whole)
    damaged = bytearray(whole)
    start = whole.index(struct.pack("<f", 63.0))
    damaged[start] ^= 1
    with pytest.raises(ValueError, match=r"the checksum of its member 'archive/data/0' is wrong"):
        seal.check(bytes(damaged))


def test_compressed_members_are_refused_before_they_are_unpacked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\0" * 10**6)
    for data in (buffer.getvalue(), seal.seal(buffer.getvalue())):
        with pytest.raises(ValueError, match="it has compressed members"):
            seal.check(data)


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_200_flipped_bits_of_a_runs_checkpoint_are_200_sentences(
    short_run: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    whole = (short_run("mmvae") / "checkpoints" / name).read_bytes()
    chosen, path = random.Random(0), tmp_path / name
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[chosen.randrange(len(whole))] ^= 1 << chosen.randrange(8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError, match=rf"^ckpt=\S*{name}: this is not a readable"):
            checkpoints.read(path, "ckpt")


def test_a_damaged_member_of_an_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(archive())
    assert seal.damaged_member(path) is None
    data = bytearray(archive())
    data[data.index(torch.arange(64.0).numpy().tobytes()) + 9] ^= 4
    path.write_bytes(data)
    assert str(seal.damaged_member(path)).endswith("data/0")
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    assert seal.damaged_member(path) is None
