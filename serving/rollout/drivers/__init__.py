"""What splits the traffic: one file a router, all behind serving.rollout.driver.Driver."""
