"""What the verbs of the command line answer, as data: ``models`` has the types, each other file computes one kind of answer.

``check``, ``catalogue``, ``fmt``, ``options`` and ``show`` import torch only where they need a module or its costs.
"""
