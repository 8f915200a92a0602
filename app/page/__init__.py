"""The page of `samplesmith web`: the shell, and a folder for each tab."""
