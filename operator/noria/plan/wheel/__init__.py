"""The wheel of one Endpoint: what it measures, what sets off a challenger, and how that earns the traffic."""
