"""Requested-to-capacity ratio: points by how full a node would be, in a shape of the profile's."""
