"""The product's settings with the suite's hooks; only `tests.chaos.stack` starts processes with them."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.hooks.Hooks"]
