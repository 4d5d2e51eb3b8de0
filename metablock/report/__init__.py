"""What the verbs of the command line answer, as data: ``models`` say its form, each other file makes one kind of answer.

``check`` and ``catalogue`` need no torch.
"""
