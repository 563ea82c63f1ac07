"""What operators read about settings: where each comes from, and the example file."""
