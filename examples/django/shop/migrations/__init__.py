"""The shop's own tables; the SDK brings its migration along."""
