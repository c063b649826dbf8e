"""The machine and the disk below everything: device, console, files that are complete or absent, folders, downloads."""
