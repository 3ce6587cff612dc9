"""Builds what hides secrets, from the settings and from what this process's environment holds."""

from __future__ import annotations

from pipespan.config import Settings, process_environment
from pipespan.model.redact import Redactor
from pipespan.model.redact_known import known_secrets
from pipespan.model.redact_spec import parse_spec

OWN: str = "PIPESPAN_REDACT"
"""Names no secret itself; what it adds is read on its own."""


def build_redactor(settings: Settings) -> Redactor:
    """Return the redactor that the settings ask for.

    Raises:
        SettingsError: the setting cannot be understood.
    """
    environ = {name: value for name, value in process_environment().items() if name != OWN}
    return Redactor(parse_spec(settings.redact), known_secrets(environ, [settings.dsn]))
