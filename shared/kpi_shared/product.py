"""What people call the whole: in mails, documents and pages. ``kpi new`` writes a project's own name here."""

PRODUCT = "KPI-One"
