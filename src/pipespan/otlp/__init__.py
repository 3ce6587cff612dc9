"""OTLP messages as rows: pure mapping, no network and no database."""
