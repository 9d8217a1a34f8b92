#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys

from hes.env import stop_on_setting_error


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hes.settings")
    with stop_on_setting_error():
        from django.core.management import execute_from_command_line

        import hes.settings  # noqa: F401  read here, once: Django hides its errors from some commands

        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
