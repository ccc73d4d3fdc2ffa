"""How a query and a passage become a score: one vector against one, or the tokens of one against the tokens of the other."""
