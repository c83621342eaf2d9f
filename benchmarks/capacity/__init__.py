"""How many replicas a load needs: a simulation of replicas, from what one of them was measured to cost."""
