"""`mediavault bench`: the vault beside nginx on one machine in one run. Only the command line may import it."""
