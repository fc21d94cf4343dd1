from __future__ import annotations

import pytest
from hydra.utils import get_class

from zsl_lab.run.configuration.old_names import OLD_NAMES, current_target, with_current_targets


@pytest.mark.parametrize(
    "old",
    [
        "zsl_lab.callbacks.progress.ProgressLine",
        "zsl_lab.reporting.tensorboard_run.TensorBoardRun",
        "zsl_lab.reporting.wandb_run.WandbRun",
        "zsl_lab.resuming.ResumeCallback",
        "zsl_lab.sweep.SweepCallback",
        "zsl_lab.data.digits.DigitsDataset",
        "zsl_lab.data.own.OwnDataset",
        "zsl_lab.data.xian.XianDataset",
        "zsl_lab.data.synthetic.SyntheticDataset",
        "zsl_lab.data.image_folder.ImageFolderDataset",
        *(f"zsl_lab.methods.{name.lower()}.{name}" for name in ("MMVAE", "SGAL", "VZSL", "ASPN")),
        "zsl_lab.methods.eszsl.ESZSL",
        "zsl_lab.methods.n3.N3",
    ],
)
def test_what_older_configurations_name_is_found(old: str) -> None:
    assert get_class(current_target(old)).__name__ == old.rpartition(".")[2]


def test_present_and_foreign_names_stay() -> None:
    for name in (*OLD_NAMES.values(), "my_package.data.digits.Digits", "None"):
        assert current_target(name) == name


def test_targets_are_renamed_anywhere_in_a_configuration() -> None:
    old = {"_target_": "zsl_lab.data.own.OwnDataset", "path": "zsl_lab.data.own"}
    new = {"_target_": "zsl_lab.data.datasets.own.OwnDataset", "path": "zsl_lab.data.own"}
    assert with_current_targets({"a": [old], "b": old}) == {"a": [new], "b": new}
