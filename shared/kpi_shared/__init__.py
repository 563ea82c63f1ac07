"""Infrastructure that at least two parts of KPI-One use, without domain nouns."""
