"""Plumbing that at least two parts of KPI-One use; it knows no domain noun."""
