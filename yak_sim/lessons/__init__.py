"""The lessons as notebooks: what there is, copies for a student, JupyterLab and slides."""
