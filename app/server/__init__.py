"""The process around the application: listening, connections, draining, the watchdog."""
