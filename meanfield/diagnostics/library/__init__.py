"""The diagnostics themselves: functions of a frame, or of a frame and the start."""
