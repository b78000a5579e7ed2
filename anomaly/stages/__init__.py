"""The four stories: update, fit, predict, alert. Each reads top to bottom and is safe to run again."""
