"""How does a person see it? Draws births in the terminal, from a trace or from OTLP JSON lines.

Imports neither OpenTelemetry nor the network: what is drawn is `births.trace.Trace`, read back from a file if need be.
"""
