"""How cost grows with what is in the store: each figure over stores of growing size."""
