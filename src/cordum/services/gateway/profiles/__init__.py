"""Answers in the form one published client reads, where that is another one than everybody else's."""

from cordum.services.gateway.profiles.detect import Profile, profile_of
from cordum.services.gateway.profiles.sdk import adapter_of

__all__ = ("Profile", "adapter_of", "profile_of")
