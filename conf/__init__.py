"""The configuration tree, shipped as a package so that the command works from a wheel."""

from omegaconf import OmegaConf


def _methods_taking(takes: str) -> str:
    from zsl_lab.methods import catalogue  # imports torch: only when a sweep asks

    return catalogue.methods_taking("images" if takes == "images" else "features")


# ${methods_taking:features} in a yaml: the methods found that take features, separated by commas
OmegaConf.register_new_resolver("methods_taking", _methods_taking, replace=True)
