"""One module a kind of model; each has a `FAMILY` (`foreshock.models.family.Family`)."""
