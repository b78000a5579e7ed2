"""Knowing, before anyone else, that the data behind a company's models has gone wrong.

The folders follow the way of the data: ``groups`` says what to watch, ``detection`` holds the mathematics,
``stages`` the four stories (update, fit, predict, alert), ``adapters`` the real things behind ``ports``,
``orchestration`` the Airflow DAGs, ``local`` the embedded stack.
"""
