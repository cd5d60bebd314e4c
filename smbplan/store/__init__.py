"""What smbplan keeps on the machine it runs on: plans, journals and locks. The live systems stay the truth."""
