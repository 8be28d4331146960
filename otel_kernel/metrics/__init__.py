"""What do we measure? The catalogue, its readers, and the points they make. How OTLP says them does not belong here."""
