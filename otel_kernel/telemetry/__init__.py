"""How is it said in OTLP? Encodes traces, keeps them until a collector has taken them, writes them to files.

The only importer of `opentelemetry` and `grpc`. What a birth means is decided in `births`: nothing here knows a system
call.
"""
