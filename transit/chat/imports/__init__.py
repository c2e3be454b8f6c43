"""What other chat systems export, as the records of channels."""
