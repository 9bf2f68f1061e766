"""Gangs whose members arrive one by one."""
