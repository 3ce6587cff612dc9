"""The OpenTelemetry side: shadow spans, log handler, gauges, row exporters. Only this room imports the SDK."""
