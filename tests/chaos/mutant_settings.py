"""The product's settings with one planted bug; only `tests.chaos.mutants` starts processes with them."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.planted.PlantedBug"]
