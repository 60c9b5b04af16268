#include "lsm/values/value_files.h"

namespace terracefs::lsm {}  // namespace terracefs::lsm
