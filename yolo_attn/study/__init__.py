"""Studies: comparisons of a base with its variants, trained from common initial weights and with common seeds.

`specification` defines what is compared, `planning` its runs, `engine` and `running` execute them, `store` contains
their files, `results` computes the statistics, and `report` presents them. An interrupted study resumes.
"""
