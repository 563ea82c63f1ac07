"""``kpi load``: the posts of a file, with their authors and votes, into the local stack."""
