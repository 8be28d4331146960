"""What do we measure? The catalogue, its readers, and the points they make. How they are said in OTLP does not belong here."""
