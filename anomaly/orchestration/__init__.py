"""Between the scheduler and the stages: groups to DAGs, connections to adapters, one run of one stage.

`ranges` and `running` know nothing of Airflow, and the command line uses them too; everything else here does.
"""
