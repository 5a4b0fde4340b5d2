set(directory_sources command.c policy.c)
