"""Every figure: curves over epochs, Gram matrices beside their ideals, and a few classes in two or three dimensions.

matplotlib is imported when something is drawn.
"""
