"""The backend by torch: any module as a feature, on a CPU, a GPU or Apple's; ordinary networks too."""
