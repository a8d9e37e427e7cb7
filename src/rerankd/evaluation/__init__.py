"""How good a ranking is: measures, differences that are more than chance, calibration, and a report that shows them.

Does: read judged collections and runs, rank them with models, measure by ir_measures, compare per query, calibrate.
Does not: watch a running service, train, or decide what is rolled out.
"""
