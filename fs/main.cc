#include "fs/cli/command.h"

int main(int argc, char** argv) { return terracefs::fs::RunCommandLine(argc, argv); }
