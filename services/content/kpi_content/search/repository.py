"""The condition of a search, for statements on tables with a tsvector."""

from sqlalchemy import TextClause, text

# SearchTerms as one tsquery, in which an empty part changes nothing.
_QUERY = """
    plainto_tsquery('english', :words)
    && to_tsquery('simple', :phrases)
    && (plainto_tsquery('english', :last_word) || to_tsquery('simple', :last_prefix))
    && !! (to_tsquery('english', :excluded) || to_tsquery('simple', :excluded))
"""


def matches(column: str, *, and_also: str = "") -> TextClause:
    """Whether the tsvector matches the terms, which are bound by the names of SearchTerms.

    ``and_also`` is a further tsquery, which an index then looks up together with the terms.
    """
    return text(f"{column} @@ ({and_also and f'{and_also} && '}{_QUERY})")
