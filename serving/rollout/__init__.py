"""The rollout between two ranking models: the resource, the pure decision, the operator and the local controller."""
