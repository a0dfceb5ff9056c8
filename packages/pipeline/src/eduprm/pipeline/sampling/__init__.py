"""The sampling experiment: EDU sampling against others, PRMs on EDU trees against others."""
