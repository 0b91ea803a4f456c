"""Convolution blocks that contain attention."""
