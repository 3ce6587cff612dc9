"""Takes OTLP from other processes, languages and collectors, and acknowledges what is in the database."""
