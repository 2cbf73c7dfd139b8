"""`python -m tasksift`."""

from tasksift.cli import main

main()
