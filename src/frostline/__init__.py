"""Fine-tune pretrained networks: say what stays frozen, prove that it held."""
