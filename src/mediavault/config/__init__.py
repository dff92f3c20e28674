"""The configuration: frozen, read once; no room reaches for global settings."""

from mediavault.config.reading import read_config
from mediavault.config.settings import Config, Role
from mediavault.config.variable import Variable
from mediavault.config.variables import PREFIX, VARIABLES

__all__ = ["PREFIX", "VARIABLES", "Config", "Role", "Variable", "read_config"]
