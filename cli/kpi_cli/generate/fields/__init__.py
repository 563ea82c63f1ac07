"""The types of fields, their rules, and the code of each."""
