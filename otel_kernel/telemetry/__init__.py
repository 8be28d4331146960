"""How is it said in OTLP? Encodes births, metrics and events, keeps them until a collector took them, writes files.

The only importer of `opentelemetry` and `grpc`. What a birth means is decided in `births`: nothing here knows a system
call.
"""
