"""What the files of `compose/` may hold: the parts of the formats that they use, strictly."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Return the schema of an object with these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def mapping(of: Any, names: str = r"^[A-Za-z0-9._-]+$") -> dict[str, Any]:
    """Return the schema of an object with any names."""
    return {"type": "object", "patternProperties": {names: of}, "additionalProperties": False}


SERVICE = closed({
    "image": {"type": "string", "pattern": r"^[a-z0-9./-]+:[\w.-]+$"},
    "build": closed({"context": TEXT, "dockerfile": TEXT}, "context"),
    "entrypoint": TEXTS,
    "command": TEXTS,
    "environment": mapping(TEXT, r"^[A-Z][A-Z0-9_]*$"),
    "user": TEXT,
    "ports": TEXTS,
    "volumes": TEXTS,
    "healthcheck": closed({
        "test": TEXTS, "interval": TEXT, "timeout": TEXT, "retries": {"type": "integer", "minimum": 1}
    }, "test"),
    "depends_on": mapping(closed({
        "condition": {"enum": ["service_started", "service_healthy", "service_completed_successfully"]}
    }, "condition")),
    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
}) | {"oneOf": [{"required": ["image"]}, {"required": ["build"]}]}  # fmt: skip

COMPOSE = closed(
    {"name": TEXT, "services": mapping(SERVICE), "volumes": mapping({"type": "null"})}, "services"
)

DATASOURCES = closed({
    "apiVersion": {"const": 1},
    "datasources": {"type": "array", "minItems": 1, "items": closed({
        "name": TEXT, "uid": TEXT, "type": {"enum": ["grafana-postgresql-datasource", "jaeger"]},
        "access": {"const": "proxy"}, "url": TEXT, "user": TEXT, "isDefault": {"type": "boolean"},
        "editable": {"const": False},
        "jsonData": closed({
            "database": TEXT, "sslmode": {"enum": ["disable", "require", "verify-ca", "verify-full"]},
            "postgresVersion": {"type": "integer"}, "timescaledb": {"type": "boolean"},
            "maxOpenConns": {"type": "integer"},
        }, "database"),
        "secureJsonData": mapping({"type": "string", "pattern": r"^\$[A-Z_]+$"}),
    }, "name", "uid", "type", "access", "url")},
}, "apiVersion", "datasources")  # fmt: skip

PROVIDERS = closed({
    "apiVersion": {"const": 1},
    "providers": {"type": "array", "minItems": 1, "items": closed({
        "name": TEXT, "type": {"const": "file"}, "folder": TEXT, "disableDeletion": {"type": "boolean"},
        "allowUiUpdates": {"type": "boolean"}, "options": closed({"path": TEXT}, "path"),
    }, "name", "type", "options")},
}, "apiVersion", "providers")  # fmt: skip

DATASOURCE = closed(
    {"type": {"const": "grafana-postgresql-datasource"}, "uid": {"const": "pipespan"}}, "type", "uid"
)

PANEL = closed({
    "id": {"type": "integer", "minimum": 1},
    "type": {"enum": ["stat", "table", "timeseries", "barchart", "logs"]},
    "title": {"type": "string", "minLength": 1},
    "datasource": DATASOURCE,
    "gridPos": closed({
        "x": {"type": "integer", "minimum": 0, "maximum": 23}, "y": {"type": "integer", "minimum": 0},
        "w": {"type": "integer", "minimum": 1, "maximum": 24}, "h": {"type": "integer", "minimum": 1},
    }, "x", "y", "w", "h"),
    "targets": {"type": "array", "minItems": 1, "items": closed({
        "refId": TEXT, "datasource": DATASOURCE, "editorMode": {"const": "code"}, "rawQuery": {"const": True},
        "format": {"enum": ["table", "time_series"]}, "rawSql": {"type": "string", "minLength": 10},
    }, "refId", "datasource", "rawQuery", "format", "rawSql")},
    "fieldConfig": closed({
        "defaults": {"type": "object"},
        "overrides": {"type": "array", "items": closed({
            "matcher": closed({"id": {"const": "byName"}, "options": TEXT}, "id", "options"),
            "properties": {"type": "array", "items": closed({"id": TEXT, "value": {}}, "id", "value")},
        }, "matcher", "properties")},
    }, "defaults", "overrides"),
    "options": {"type": "object"},
}, "id", "type", "title", "datasource", "gridPos", "targets")  # fmt: skip

VARIABLE = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "label": TEXT,
        "type": {"enum": ["query", "custom", "textbox"]},
        "query": TEXT,
    },
    "required": ["name", "type", "query", "options", "current"],
}

DASHBOARD = closed({
    "uid": {"type": "string", "pattern": r"^pipespan-[a-z]+$"},
    "title": {"type": "string", "minLength": 1},
    "tags": {"const": ["pipespan"]},
    "schemaVersion": {"type": "integer", "minimum": 39},
    "version": {"type": "integer"},
    "editable": {"type": "boolean"},
    "graphTooltip": {"enum": [0, 1, 2]},
    "timezone": TEXT,
    "refresh": {"type": "string", "pattern": r"^\d+[sm]$"},
    "time": closed({"from": TEXT, "to": TEXT}, "from", "to"),
    "links": {"type": "array", "items": {"type": "object"}},
    "templating": closed({"list": {"type": "array", "items": VARIABLE}}, "list"),
    "annotations": closed({"list": {"type": "array"}}, "list"),
    "panels": {"type": "array", "minItems": 1, "items": PANEL},
}, "uid", "title", "tags", "schemaVersion", "refresh", "time", "templating", "panels")  # fmt: skip
