"""The steps of one PipelineRun: how they are checked, what they take and become, and how they follow one another."""
