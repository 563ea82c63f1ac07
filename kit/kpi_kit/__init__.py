"""Service libraries for those who build on KPI-One. They import nothing of the platform: see docs/kit.md."""
