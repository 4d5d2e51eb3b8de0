"""The ways to make graphs of a network (:func:`metablock.compile`)."""

WAYS = ("nested", "whole", "regions")
