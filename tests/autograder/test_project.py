"""The files that describe the project agree with each other."""

from __future__ import annotations

import re
import tomllib

import yaml
from packaging.requirements import Requirement
from tiny import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Packages that conda-forge knows by another name.
CONDA_NAMES = {"matplotlib": "matplotlib-base", "torch": "pytorch"}


def test_conda_environment_and_package_metadata_ask_for_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = {line for line in environment["dependencies"] if isinstance(line, str)} - {"pip"}
    requirements = [Requirement(text) for text in PROJECT["dependencies"]]
    expected = {f"{CONDA_NAMES.get(r.name, r.name)}{r.specifier}" for r in requirements}
    assert conda == expected | {f"python{PROJECT['requires-python']}"}
    assert environment["name"] == PROJECT["name"]


def test_every_dependency_is_pinned_within_its_range():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    extras = [text for group in PROJECT["optional-dependencies"].values() for text in group]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras]):
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    assert pins["torch"] == "2.13.0"


def test_the_repositorys_address_stands_in_one_place():
    address = PROJECT["urls"]["Repository"].removeprefix("https://")
    found = [
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "*.toml", "*.yml", "*.txt", "utils/**/*.py", "autograder/**/*.py", "solutions/*/*.py")
        for path in ROOT.glob(pattern)
        if re.search(re.escape(address), path.read_text())
    ]
    assert found == ["pyproject.toml"]


def test_every_package_is_installed():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = [path.parent for top in ("utils", "autograder") for path in (ROOT / top).rglob("__init__.py")]
    assert sorted(packages) == sorted(folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in folders)
