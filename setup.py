"""How the wheel is built; everything else about the package stands in pyproject.toml.

The package reads configs/ and sql/ beside it in a checkout. An installed wheel, or the same wheel as a zip on Dataproc,
has no checkout: it carries copies in shoplake/resources/, where shoplake.settings.find_resources looks first.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
RESOURCES = ("configs/*.yaml", "sql/**/*.sql", "kafka/topics.yaml")


class BuildWithResources(build_py):
    """Build the package from nothing, so that no module that was deleted since stays in, and add the resources."""

    def run(self) -> None:
        """Copy modules and resources into the build folder; an editable installation reads the checkout itself."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if self.editable_mode:
            return
        for file in (file for pattern in RESOURCES for file in sorted(ROOT.glob(pattern))):
            target = Path(self.build_lib, "shoplake", "resources", file.relative_to(ROOT))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)


setup(cmdclass={"build_py": BuildWithResources})
