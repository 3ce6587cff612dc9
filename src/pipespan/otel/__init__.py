"""The OpenTelemetry side: shadow spans, log handler, gauges, row exporters. The one room with the SDK."""
