"""Files with one thing wrong, and what a store makes of them."""
