"""Traffic: open-loop load from the held-out part of a log, and feedback by a click model over its labels."""
