"""What does this sequence of events mean? Events in, births out: pure, replayable from a recording."""
