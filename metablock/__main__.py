"""``python -m metablock``"""

from .cli import main

main()
