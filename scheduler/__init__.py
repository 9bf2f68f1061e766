"""Tables in, plan out: filters and scores nodes for the units it was assigned."""
