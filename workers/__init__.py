"""Celery tasks and the runner that carries DLMS dialogs over the gateway."""
