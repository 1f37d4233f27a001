"""Whatever happens around an Endpoint, in whatever order: who has traffic is never taken away, and nobody gets any unjudged."""

from hypothesis import settings
from wheel import Wheel

TestWheel = Wheel.TestCase
TestWheel.settings = settings(max_examples=300, stateful_step_count=60, derandomize=True)
