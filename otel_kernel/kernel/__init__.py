"""What does the kernel tell us? Programs, maps, the ring of records. What a record *means* is not asked here."""
