"""What a part reports about itself: logs, metrics, traces and the current request."""
