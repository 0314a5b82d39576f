"""What watches a run: when (schedules) and what (recorder, series, events, distances)."""
