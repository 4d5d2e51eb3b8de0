"""What the verbs of the command line answer, as data: ``models`` has the types, each other file computes one kind of answer.

``check``, ``catalogue``, ``fmt`` and ``options`` import no torch.
"""
