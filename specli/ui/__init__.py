"""Rich views fed by engine events; nothing here computes a statistic."""
