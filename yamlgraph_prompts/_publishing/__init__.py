"""The pipeline of a publication, from the layers to the swap."""
