"""The program `elastic`: starts and stops workers by rules, as the backlog asks for.

rules.py      the file of rules, as people write it
decision.py   how many workers a pool should have: pure
picture.py    what schedulers and workers say, as a pool sees it
driver.py     what starts and stops workers, and drivers/ that do
turn.py       which of several elastic programs acts for a pool
service.py    all of these together
"""
