"""OTLP in, the operator's webhook out: each birth at most once, lost only when counted (design section 5).

body -> otlp (what was told) -> messages (what the operator takes) -> delivery (ledger, operator, answers) -> service.
"""
