"""The library of earlier panels: what a journal has published, to be searched for what is submitted to it."""
