"""The configuration tree, shipped as a package so that the command works from a wheel."""

from omegaconf import OmegaConf


def _methods_taking(takes: str) -> str:
    from zsl_lab.methods import catalogue  # imports torch: only when a sweep asks

    return catalogue.methods_taking("images" if takes == "images" else "features")


def _tuned_file(choice: str, method: str, dataset: str) -> str:
    from zsl_lab.run.configuration import settings_files

    return settings_files.of_choice(choice, method, dataset)


def _published_file(choice: str, method: str, dataset: str) -> str:
    from zsl_lab.run.configuration import settings_files

    return settings_files.published_of_choice(choice, method, dataset)


def _settings_folder() -> str:
    from zsl_lab.run.configuration import settings_files

    return settings_files.searched_folder()


def _one_minus(value: float) -> float:
    return round(1 - float(value), 12)  # without the noise of binary fractions


# ${one_minus:${method.gamma}} in a yaml: what is left of 1
OmegaConf.register_new_resolver("one_minus", _one_minus, replace=True)
# ${methods_taking:features} in a yaml: the methods found that take features, separated by commas
OmegaConf.register_new_resolver("methods_taking", _methods_taking, replace=True)
# for config.yaml: the files that settings=CHOICE stands for, and the user's folder of such files
OmegaConf.register_new_resolver("tuned_file", _tuned_file, replace=True)
OmegaConf.register_new_resolver("published_file", _published_file, replace=True)
OmegaConf.register_new_resolver("settings_folder", _settings_folder, replace=True)
