"""The main job: from problems to a trained PRM, judged by best-of-N."""
